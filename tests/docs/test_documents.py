"""The documentation against the code."""

import importlib.util
import re
import tomllib
from pathlib import Path

import botocore.session
import pytest

from clary.instance.storage_trouble import download_failure
from clary.jobs.failure import internal_error, program_failure
from clary.storage.transfer import InsufficientDisk

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().PAGES


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_generated_page_is_what_the_code_says_now(name):
    """If this fails: make docs."""
    assert (ROOT / "docs" / name).read_text() == generator().GENERATED + PAGES[name]()


def test_every_dependency_has_its_reason_and_no_reason_is_left_over():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)}
    explained = re.findall(r"^\| ([a-z0-9-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)

    assert sorted(name.partition("[")[0] for name in named) == sorted(set(explained) - {"package"})


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
def test_every_link_and_every_path_leads_somewhere(page):
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:tests|src|docs)/[\w./-]+)`", text)

    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


NOW = [
    ("HyperParameters, length of a value", "HyperParameterValue", "max"),
    ("HyperParameters, entries and length of a key", "HyperParameters", "max"),
    ("HyperParameters, entries and length of a key", "HyperParameterKey", "max"),
    ("MetricDefinitions", "MetricDefinitionList", "max"),
    ("FinalMetricDataList", "FinalMetricDataList", "max"),
    ("TrainingInputMode, InputMode", "TrainingInputMode", "enum"),
    ("InstanceCount, VolumeSizeInGB", "TrainingInstanceCount", "min"),
    ("InstanceCount, VolumeSizeInGB", "OptionalVolumeSizeInGB", "min"),
    ("MaxRuntimeInSeconds", "MaxRuntimeInSeconds", "min"),
    ("KmsKeyId, VolumeKmsKeyId", "KmsKeyId", "max"),
    ("KmsKeyId, VolumeKmsKeyId", "KmsKeyId", "pattern"),
    ("ResourceArn of tags", "ResourceArn", "pattern"),
]


@pytest.mark.parametrize(("row", "shape", "constraint"), NOW)
def test_the_limits_that_hold_are_those_of_the_model(row, shape, constraint):
    """The last column of the table of older limits."""
    text = (ROOT / "docs" / "semantics.md").read_text()
    [now] = re.findall(rf"^\| {re.escape(row)} \|.*\| (.*) \|$", text, re.MULTILINE)
    limit = botocore.session.Session().get_service_model("sagemaker").shape_for(shape).metadata[constraint]

    if constraint == "enum":
        assert now == ", ".join(limit)
    else:
        assert re.search(rf"(?<!\d){re.escape(str(limit).removesuffix('*'))}(?!\d)", now), limit


def test_every_crash_point_of_the_controller_is_tested():
    text = (ROOT / "tests" / "faults" / "test_server_crashes.py").read_text()
    declared = re.findall(r'"(controller\.\w+)"', (ROOT / "src" / "clary" / "controller" / "loop.py").read_text())

    assert declared
    assert [point for point in declared if point not in text] == []


def test_the_example_of_the_readme_is_complete_and_says_five_lines():
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]

    assert len(example.strip().splitlines()) == 5
    compile(example, "README.md", "exec")


@pytest.mark.parametrize(
    "failure",
    [
        program_failure("", 3),
        program_failure("", 127),
        program_failure("", 137, starved=True),
        program_failure("<what it wrote to /opt/ml/output/failure>", 3),
        download_failure(InsufficientDisk("full")),
        internal_error("The training program was lost."),
        internal_error(),
    ],
    ids=lambda failure: failure.reason[:40],
)
def test_the_guide_has_the_failure_reasons(failure):
    """As the code words them."""
    assert f"`{failure.reason}`" in (ROOT / "docs" / "guide.md").read_text()
