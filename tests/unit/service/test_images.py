"""The image catalogue: which image stands for which environment."""

import sys
from pathlib import Path

import pytest

from clary.aws.errors import ValidationException
from clary.jobs.model import Program
from clary.service.images import ImageCatalogue, InvalidCatalogue, load_catalogue


def python_paths(prefix):
    if not (prefix / "bin" / "python").exists():
        raise InvalidCatalogue(f"no Python in {prefix}")
    return (str(prefix),)


def catalogue(own=None, **options):
    return ImageCatalogue(load_catalogue(own), python_paths=python_paths, **options)


@pytest.fixture
def containers(tmp_path):
    """A catalogue with a rule of the operator's own, beside an engine that works."""

    def make(text="", **options):
        own = tmp_path / "own.toml"
        own.write_text(text)
        return catalogue(own, container_problem=lambda: None, **options)

    return make


@pytest.mark.parametrize(
    "image",
    [
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
        "141502667606.dkr.ecr.eu-west-1.amazonaws.com/sagemaker-xgboost:3.0-5",
        "811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:1",
        "000000000000.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-xgboost:1.5-1",
    ],
)
def test_aws_xgboost_images_run_the_built_in_algorithm(image):
    resolved = catalogue().resolve(image)

    assert resolved.program.image == image
    assert resolved.program.entrypoint == (f"{sys.prefix}/bin/python", "-m", "clary_algorithms.xgboost")
    assert any(path.endswith("clary_algorithms") for path in resolved.program.read_only_paths)
    assert "validation:auc" in {definition.name for definition in resolved.metric_definitions}
    assert len(resolved.metric_definitions) <= 40


def test_the_plain_python_has_no_entrypoint_and_finds_python_before_the_systems():
    program = catalogue().resolve("clary/python:3").program

    assert program.entrypoint == ()
    # Before it only the scripts of what the program installs itself.
    assert program.search_path[:2] == (f"{program.environment['PIP_TARGET']}/bin", f"{sys.prefix}/bin")


@pytest.mark.parametrize(
    "image",
    ["ubuntu", "me/xgboost-and-more:1", "x.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1", "clary/pythonista"],
)
def test_an_image_that_nothing_can_run_is_refused_with_the_cure(image):
    with pytest.raises(ValidationException) as refused:
        catalogue().resolve(image)

    assert refused.value.message.startswith("Invalid training image. Please provide a valid Amazon Elastic Container")
    assert image in refused.value.message
    assert "image catalogue" in refused.value.message


def test_the_operators_own_rules_come_first(tmp_path):
    own = tmp_path / "images.toml"
    own.write_text('[[image]]\nimage = "clary/python.*"\nentrypoint = ["/bin/sh"]\n')

    assert catalogue(own).resolve("clary/python:3").program.entrypoint == ("/bin/sh",)


def test_an_environment_without_a_python_is_refused(tmp_path):
    own = tmp_path / "images.toml"
    own.write_text(f'[[image]]\nimage = "mine"\npython = "{tmp_path}/nowhere"\n')

    with pytest.raises(ValidationException, match="no Python in"):
        catalogue(own).resolve("mine")


@pytest.mark.parametrize(
    "text",
    [
        "[[image]]",
        '[[image]]\nimage = "("',
        '[[image]]\nimage = "a"\nentry_point = ["x"]',
        "image = [",
        '[[image]]\nimage = "a"\nreference = "b"',
        '[[image]]\nimage = "a"\nruns_in = "vm"',
        '[[image]]\nimage = "a"\nruns_in = "container"\npython = "/usr"',
        "[[image]]\nimage = 'a'\nruns_in = 'container'\nreference = 'b\\1'",
        "[[image]]\nimage = 'a'\nruns_in = 'container'\nreference = 'b\\g<n>'",
        '[[credentials_provider]]\narn = "a"\ncommand = []',
        '[[credentials_provider]]\narn = "a"\nhelper = "h"',
    ],
)
def test_a_bad_catalogue_is_refused_and_names_its_file(tmp_path, text):
    own = tmp_path / "mine.toml"
    own.write_text(text)

    with pytest.raises(InvalidCatalogue, match=r"mine\.toml"):
        load_catalogue(own)


def test_a_missing_catalogue_is_refused():
    with pytest.raises(InvalidCatalogue):
        load_catalogue(Path("/nowhere/images.toml"))


def test_an_image_without_a_rule_is_run_as_it_is(containers):
    """By the container engine, under the name that the caller gave it."""
    resolved = containers().resolve("quay.io/me/tool:1")

    assert resolved.program == Program(image="quay.io/me/tool:1", reference="quay.io/me/tool:1")
    assert resolved.metric_definitions == ()


def test_without_an_engine_the_refusal_says_why():
    """The engine's own trouble with its cure, and the way round it."""
    with pytest.raises(ValidationException) as refused:
        catalogue(container_problem=lambda: "Docker sleeps. Cure: wake it.").resolve("quay.io/me/tool:1")

    assert "'quay.io/me/tool:1'" in refused.value.message
    assert "Docker sleeps. Cure: wake it." in refused.value.message


def test_the_engine_is_asked_again_for_the_next_job(containers):
    """It may have been started meanwhile."""
    problems = ["not yet", None]
    images = catalogue(container_problem=lambda: problems.pop(0))
    with pytest.raises(ValidationException):
        images.resolve("ubuntu")

    assert images.resolve("ubuntu").program.reference == "ubuntu"


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.1", "mirror.local/pytorch-training:2.1"),
        ("plain", "plain:pinned"),
    ],
)
def test_a_rule_rewrites_what_is_run(containers, image, reference):
    """With what its groups found; the job still shows the caller's name."""
    images = containers(
        r"""
        [[image]]
        image = '\d{12}\.dkr\.ecr\.[^/]*/(?P<rest>.*)'
        runs_in = "container"
        reference = 'mirror.local/\g<rest>'
        [[image]]
        image = '(plain)'
        runs_in = "container"
        reference = '\1:pinned'
        """
    )

    assert images.resolve(image).program == Program(image=image, reference=reference)


def test_a_rule_can_send_a_built_in_image_to_the_engine(containers):
    """AWS's XGBoost as AWS built it; the metrics that a rule names are shown all the same."""
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
    rule = (
        "[[image]]\nimage = '.*xgboost.*'\nruns_in = 'container'\n"
        "metric_definitions = 'clary_algorithms.metric_definitions:XGBOOST'"
    )

    assert containers().resolve(image).program.reference is None
    resolved = containers(rule).resolve(image)
    assert resolved.program.reference == image
    assert resolved.metric_definitions


@pytest.mark.parametrize("image", ["Me/Tool", "a b", "", "reg.io/"])
def test_what_is_no_name_of_an_image_is_refused(containers, image):
    """At create time, before anything is pulled."""
    with pytest.raises(ValidationException, match=f"Invalid training image\\. .*'{image}' is no name of an image"):
        containers().resolve(image)


def test_a_rewriting_that_makes_no_name_is_refused_with_both_names(containers):
    """So that the operator finds the rule."""
    images = containers("[[image]]\nimage = 'a(.*)'\nruns_in = 'container'\nreference = 'B/\\1'")
    with pytest.raises(ValidationException, match=r"'B/x' is no name .*the image catalogue rewrites 'ax' so"):
        images.resolve("ax")


ARN = "arn:aws:lambda:us-east-1:000000000000:function:login"


def test_a_lambda_function_is_stood_for_by_a_credential_helper(containers):
    """Its command goes with the program; no secret does."""
    images = containers(f"[[credentials_provider]]\narn = '{ARN}'\ncommand = ['docker-credential-vault', '--quiet']")

    program = images.resolve("reg.io/a", provider_arn=ARN).program
    assert program.credential_helper == ("docker-credential-vault", "--quiet")
    assert images.resolve("reg.io/a").program.credential_helper == ()


def test_another_lambda_function_is_refused_with_the_cure(containers):
    """It cannot be invoked here; nor is it passed over where nothing is pulled."""
    with pytest.raises(ValidationException, match=f"'{ARN}' cannot be invoked.*credentials_provider.*arn = '{ARN}'"):
        containers().resolve("reg.io/a", provider_arn=ARN)

    with pytest.raises(ValidationException, match=f"'{ARN}' cannot be invoked"):
        containers().resolve("clary/python", provider_arn=ARN)


def test_ecr_has_a_helper_of_its_own(containers):
    """For its registries only, after rewriting; a function that the job names goes before."""
    ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    images = containers(
        f"[[image]]\nimage = 'mine'\nruns_in = 'container'\nreference = '{ecr}/mine'\n"
        f"[[credentials_provider]]\narn = '{ARN}'\ncommand = ['vault']",
        ecr_helper=("ecr", "me"),
    )

    helpers = {image: images.resolve(image).program.credential_helper for image in (f"{ecr}/a", "mine", "quay.io/a")}
    assert helpers == {f"{ecr}/a": ("ecr", "me"), "mine": ("ecr", "me"), "quay.io/a": ()}
    assert images.resolve("mine", provider_arn=ARN).program.credential_helper == ("vault",)
