"""The image catalogue: which image stands for which environment."""

import sys
from pathlib import Path

import pytest

from clary.aws.errors import ValidationException
from clary.service.images import ImageCatalogue, InvalidCatalogue, load_images


def python_paths(prefix):
    if not (prefix / "bin" / "python").exists():
        raise InvalidCatalogue(f"no Python in {prefix}")
    return (str(prefix),)


def catalogue(own=None):
    return ImageCatalogue(load_images(own), python_paths=python_paths)


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
    "text", ["[[image]]", '[[image]]\nimage = "("', '[[image]]\nimage = "a"\nentry_point = ["x"]', "image = ["]
)
def test_a_bad_catalogue_is_refused_and_names_its_file(tmp_path, text):
    own = tmp_path / "mine.toml"
    own.write_text(text)

    with pytest.raises(InvalidCatalogue, match=r"mine\.toml"):
        load_images(own)


def test_a_missing_catalogue_is_refused():
    with pytest.raises(InvalidCatalogue):
        load_images(Path("/nowhere/images.toml"))
