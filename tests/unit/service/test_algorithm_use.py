"""Training jobs against the algorithm that they name."""

import msgspec
import pytest

from clary.aws.errors import ValidationException
from clary.jobs.algorithm import Algorithm, AlgorithmRequest, AlgorithmStatus, TrainingSpecification
from clary.jobs.model import MetricDefinition
from clary.service.algorithm_use import metrics_of, under_algorithm
from factories import NOW, make_channel, make_groups, make_request

ARN = "arn:aws:sagemaker:us-east-1:000000000000:algorithm/a"

SPECIFICATION = {
    "TrainingImage": "clary/python",
    "SupportedTrainingInstanceTypes": ["ml.m5.large", "ml.m5.xlarge"],
    "SupportsDistributedTraining": False,
    "SupportedHyperParameters": [
        {"Name": "epochs", "Type": "Integer", "IsRequired": True},
        {
            "Name": "rate",
            "Type": "Continuous",
            "DefaultValue": "0.1",
            "Range": {"ContinuousParameterRangeSpecification": {"MinValue": "0", "MaxValue": "1"}},
        },
        {
            "Name": "loss",
            "Type": "Categorical",
            "Range": {"CategoricalParameterRangeSpecification": {"Values": ["l1", "l2"]}},
        },
        {"Name": "note", "Type": "FreeText"},
    ],
    "MetricDefinitions": [{"Name": "loss", "Regex": "algorithm"}],
    "TrainingChannels": [
        {
            "Name": "train",
            "IsRequired": True,
            "SupportedContentTypes": ["text/csv", "application/x-recordio;proto=a"],
            "SupportedCompressionTypes": ["None", "Gzip"],
            "SupportedInputModes": ["File"],
        },
        {"Name": "test", "SupportedContentTypes": [], "SupportedInputModes": ["Pipe"]},
    ],
}


def algorithm(status=AlgorithmStatus.COMPLETED, **changes):
    specification = msgspec.convert(SPECIFICATION | changes, TrainingSpecification)
    return Algorithm(
        algorithm_name="a",
        algorithm_arn=ARN,
        request=AlgorithmRequest(algorithm_name="a", training_specification=specification),
        creation_time=NOW,
        algorithm_status=status,
    )


def refusal(request, used=None):
    with pytest.raises(ValidationException) as refused:
        under_algorithm(request, used or algorithm())
    return refused.value.message


def test_defaults_are_filled_in_and_what_was_set_stays():
    """Those of the job win; what has no default stays unset."""
    plain = under_algorithm(make_request(), algorithm())
    assert plain == make_request(hyper_parameters={"rate": "0.1", "epochs": "3"})

    own = make_request(hyper_parameters={"epochs": "3", "rate": "1", "loss": "l2", "note": ""})
    assert under_algorithm(own, algorithm()) == own


@pytest.mark.parametrize(
    ("hyper_parameters", "text"),
    [
        ({}, "required hyperparameter 'epochs' is not set"),
        ({"epochs": "many"}, "the value 'many' of hyperparameter 'epochs' must be an integer"),
        ({"epochs": "1", "rate": "2"}, "the value '2' of hyperparameter 'rate' must be a number between 0 and 1"),
        ({"epochs": "1", "loss": "l3"}, "the value 'l3' of hyperparameter 'loss' must be one of [l1, l2]"),
        ({"epochs": "1", "Epochs": "1"}, "hyperparameter 'Epochs' is not supported"),
    ],
)
def test_a_hyperparameter_that_does_not_fit_is_refused(hyper_parameters, text):
    message = refusal(make_request(hyper_parameters=hyper_parameters))
    assert message == f"The request does not fit algorithm {ARN}: {text}."


def test_an_algorithm_without_hyperparameters_takes_none():
    """As in SDK v2."""
    used = algorithm(SupportedHyperParameters=[])
    assert "hyperparameter 'epochs' is not supported" in refusal(make_request(), used)
    under_algorithm(make_request(hyper_parameters={}), used)


def test_an_instance_type_that_the_algorithm_lacks_is_refused():
    request = make_request()
    other = msgspec.structs.replace(request.resource_config, instance_type="ml.c5.large")
    message = refusal(msgspec.structs.replace(request, resource_config=other))
    assert "instance type ml.c5.large is not supported; supported are [ml.m5.large, ml.m5.xlarge]" in message


def test_the_type_of_every_instance_group_counts():
    """Each type that the algorithm lacks is named once."""
    groups = make_groups(a=1, b=1, c=1)
    message = refusal(make_request(resource_config=groups), algorithm(SupportsDistributedTraining=True))
    assert message.count("instance type ml.c5.xlarge is not supported") == 1
    assert message.count("instance type ml.g5.xlarge is not supported") == 1
    assert "instance type ml.m5.large" not in message


def test_several_groups_are_several_instances():
    several = make_request(resource_config=make_groups(a=1, b=1))
    assert "distributed training is not supported" in refusal(several)
    every_type = ["ml.m5.large", "ml.c5.xlarge"]
    under_algorithm(several, algorithm(SupportsDistributedTraining=True, SupportedTrainingInstanceTypes=every_type))


def test_only_an_explicit_false_forbids_several_instances():
    """As in SDK v2: an algorithm that says nothing may be distributed."""
    several = make_request(instance_count=2)
    assert "distributed training is not supported; InstanceCount must be 1" in refusal(several)
    under_algorithm(several, algorithm(SupportsDistributedTraining=True))
    under_algorithm(several, algorithm(SupportsDistributedTraining=None))


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ((), "required input channel 'train' is not there"),
        ((make_channel("train"), make_channel("x")), "input channel 'x' is not supported"),
        (
            (make_channel("train", input_mode="FastFile"),),
            "input mode FastFile of input channel 'train' is not supported; supported are [File]",
        ),
        (
            (make_channel("train"), make_channel("test")),
            "input mode File of input channel 'test' is not supported; supported are [Pipe]",
        ),
        (
            (make_channel("train", content_type="text/libsvm"),),
            (
                "content type 'text/libsvm' of input channel 'train' is not supported; "
                "supported are [text/csv, application/x-recordio;proto=a]"
            ),
        ),
        (
            (make_channel("train"), make_channel("test", input_mode="Pipe", compression_type="Gzip")),
            "compression type Gzip of input channel 'test' is not supported; supported are [None]",
        ),
    ],
)
def test_a_channel_that_does_not_fit_is_refused(channels, text):
    message = refusal(make_request(input_data_config=channels))
    assert message == f"The request does not fit algorithm {ARN}: {text}."


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"content_type": "text/csv"},
        {"content_type": "Text/CSV; label_size=0"},
        {"content_type": "application/x-recordio; proto=a"},
        {"compression_type": "Gzip"},
        {"compression_type": "None"},
        {"input_mode": "File"},
    ],
)
def test_a_channel_that_fits_is_taken(changes):
    """Without a content type too; parameters of one count only if the algorithm names them."""
    under_algorithm(make_request(input_data_config=(make_channel("train", **changes),)), algorithm())


def test_the_input_mode_of_the_job_counts_for_channels_without_their_own():
    request = make_request()
    pipe = msgspec.structs.replace(request.algorithm_specification, training_input_mode="Pipe")
    assert "input mode Pipe of input channel 'train'" in refusal(
        msgspec.structs.replace(request, algorithm_specification=pipe)
    )


def test_an_empty_list_of_content_types_allows_all():
    both = (make_channel("train"), make_channel("test", input_mode="Pipe", content_type="x/y"))
    under_algorithm(make_request(input_data_config=both), algorithm())


def test_all_that_does_not_fit_stands_in_one_message():
    assert refusal(make_request(hyper_parameters={"x": "1"}, channels=())).count("; ") == 2


@pytest.mark.parametrize("status", [status for status in AlgorithmStatus if status != "Completed"])
def test_an_algorithm_that_is_not_completed_cannot_be_used(status):
    assert refusal(make_request(), algorithm(status)) == (
        f"Algorithm {ARN} cannot be used: its status is {status.value}."
    )


def test_the_algorithm_s_metrics_win_over_those_of_its_image():
    image = (MetricDefinition(name="auc", regex="image"), MetricDefinition(name="loss", regex="image"))
    assert [(d.name, d.regex) for d in metrics_of(algorithm(), image)] == [("auc", "image"), ("loss", "algorithm")]
    assert metrics_of(algorithm(MetricDefinitions=None), image) == image
