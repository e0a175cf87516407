"""The service models and their corrections."""

import pytest

from clary.aws.model import Patch, ServiceModel


def test_operations_are_found_by_name():
    """A name of the model gives its shapes, once made and then the same; any other name gives None."""
    model = ServiceModel("sagemaker")
    operation = model.operation("CreateTrainingJob")
    assert operation.input_shape.name == "CreateTrainingJobRequest"
    assert model.operation("CreateTrainingJob") is operation
    assert model.operation("StopTrainingJob").output_shape is None
    assert model.operation("createTrainingJob") is None
    assert model.operation("") is None


@pytest.mark.parametrize(
    ("service", "protocols", "prefix"),
    [
        ("sagemaker", ("json",), "SageMaker"),
        ("logs", ("json",), "Logs_20140328"),
        ("monitoring", ("json", "query", "smithy-rpc-v2-cbor"), "GraniteServiceVersion20100801"),
        ("sts", ("query",), None),
        ("iam", ("query",), None),
    ],
)
def test_each_service_says_which_protocols_it_speaks(service, protocols, prefix):
    """By the name in the credential scope, which is not always that of botocore's folder."""
    model = ServiceModel(service)
    assert (model.protocols, model.target_prefix) == (protocols, prefix)


@pytest.mark.parametrize(
    ("service", "code", "member"),
    [
        ("sagemaker", "ResourceInUse", "Message"),
        ("sagemaker", "ResourceNotFound", "Message"),
        ("sagemaker", "ResourceLimitExceeded", "Message"),
        ("sagemaker", "ConflictException", "Message"),
        ("sagemaker", "ValidationException", "message"),
        ("logs", "ResourceNotFoundException", "message"),
    ],
)
def test_the_model_says_what_the_text_of_an_error_is_called(service, code, member):
    """Modelled errors of SageMaker declare `Message`; whatever the model does not know has `message`."""
    assert ServiceModel(service).message_member(code) == member


def test_a_patch_replaces_and_removes():
    """What a patch sets is what the shapes say."""
    model = ServiceModel(
        "sagemaker",
        (
            Patch(path=("shapes", "TrainingJobName", "max"), value=7, why="test"),
            Patch(path=("shapes", "TrainingJobName", "pattern"), value=None, why="test"),
        ),
    )
    shape = model.shape("TrainingJobName")
    assert shape.metadata["max"] == 7
    assert "pattern" not in shape.metadata
    assert ServiceModel("sagemaker").shape("TrainingJobName").metadata["max"] == 63


def test_a_patch_for_a_model_that_has_changed_is_seen():
    """A path that leads nowhere is an error at start, not a correction that silently is none."""
    with pytest.raises(KeyError):
        ServiceModel("sts", (Patch(path=("shapes", "NoSuchShape", "max"), value=1, why="test"),))
    with pytest.raises(KeyError):
        ServiceModel("sts", (Patch(path=("shapes", "NoSuchShape"), value=None, why="test"),))
