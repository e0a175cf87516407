"""The list of algorithms, and one of them."""

import asyncio

import pytest

from clary.jobs.model import AlgorithmSpecification
from console_house import CONTEXT, House
from factories import make_job, make_request

IMAGE = "clary/python"


@pytest.fixture
def house():
    return House().sign_in()


def create(house, name, **more):
    specification = {
        "TrainingImage": IMAGE,
        "SupportedTrainingInstanceTypes": ["ml.m5.large", "ml.c5.xlarge"],
        "TrainingChannels": [
            {
                "Name": "train",
                "Description": "rows <b>",
                "IsRequired": True,
                "SupportedContentTypes": ["text/csv"],
                "SupportedInputModes": ["File", "Pipe"],
                "SupportedCompressionTypes": ["None"],
            }
        ],
        "SupportedHyperParameters": [
            {
                "Name": "depth",
                "Type": "Integer",
                "Description": "of a tree",
                "Range": {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "9"}},
                "IsRequired": True,
                "IsTunable": True,
            },
            {
                "Name": "kind",
                "Type": "Categorical",
                "Range": {"CategoricalParameterRangeSpecification": {"Values": ["a", "b"]}},
                "DefaultValue": "a",
            },
            {"Name": "text", "Type": "FreeText"},
        ],
        "SupportsDistributedTraining": True,
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
    }
    params = {"AlgorithmName": name, "TrainingSpecification": specification} | more
    asyncio.run(house._handlers["sagemaker"]["CreateAlgorithm"](CONTEXT, params))
    house.clock.advance(1)


def test_algorithms_are_listed_newest_first_and_found_by_name(house):
    """Older ones are on further pages."""
    for n in range(30):
        create(house, f"algorithm-{n:02}")
    page = house.json("/algorithms")
    assert [row["name"] for row in page["rows"]] == [f"algorithm-{n:02}" for n in range(29, 4, -1)]
    second = house.follow(page["next_path"] + "&format=json").json
    assert [row["name"] for row in second["rows"]] == [f"algorithm-{n:02}" for n in range(4, -1, -1)]
    assert (second["next_path"], second["first_path"]) == (None, "/_clary/console/algorithms")
    assert [row["name"] for row in house.json("/algorithms", name="-07")["rows"]] == ["algorithm-07"]
    assert house.get("/algorithms").status == 200


def test_an_algorithm_shows_what_it_takes(house):
    create(house, "a", AlgorithmDescription="mine", Tags=[{"Key": "k", "Value": "v"}])
    page = house.json("/algorithms/a")
    assert (page["name"], page["description"], page["training_image"]) == ("a", "mine", IMAGE)
    assert page["instance_types"] == ["ml.m5.large", "ml.c5.xlarge"]
    assert page["tags"] == [{"name": "k", "value": "v"}]
    assert [(each["name"], each["range"], each["default_value"]) for each in page["hyper_parameters"]] == [
        ("depth", "1 to 9", None),
        ("kind", "a, b", "a"),
        ("text", "", None),
    ]
    assert [each["is_required"] for each in page["hyper_parameters"]] == [True, False, False]
    assert [each["is_tunable"] for each in page["hyper_parameters"]] == [True, False, False]
    assert page["channels"][0]["input_modes"] == ["File", "Pipe"]
    assert page["raw"]["AlgorithmStatus"] == "Completed"
    text = house.get("/algorithms/a").text
    assert "rows &lt;b&gt;" in text


def test_an_algorithm_that_is_not_there_is_not_found(house):
    for name in ("none", "a b", "-"):
        assert house.get(f"/algorithms/{name}").status == 404


@pytest.mark.parametrize("name", ["a", "arn:aws:sagemaker:us-east-1:000000000000:algorithm/a"])
def test_a_job_leads_to_its_algorithm(house, name):
    """By whichever name it was given."""
    create(house, "a")
    specification = AlgorithmSpecification(algorithm_name=name, training_input_mode="File")
    house.keep(make_job("j", request=make_request("j", algorithm_specification=specification)))
    algorithm = house.json("/jobs/j")["algorithm"]
    assert (algorithm["algorithm_name"], algorithm["training_image"]) == (name, None)
    assert house.follow(algorithm["algorithm_path"]).status == 200
