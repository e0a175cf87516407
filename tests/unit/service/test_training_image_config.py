"""TrainingImageConfig: shown again as it came, and turned into the command that logs in where the image is pulled."""

import pytest

from clary.aws.errors import ValidationException
from clary.service.images import Catalogue, Image, ImageCatalogue
from clary.service.registry_logins import CredentialsProvider
from sagemaker_api import SageMaker

ARN = "arn:aws:lambda:us-east-1:000000000000:function:login"
AUTH = {"TrainingRepositoryCredentialsProviderArn": ARN}
PRIVATE = {"TrainingRepositoryAccessMode": "Vpc", "TrainingRepositoryAuthConfig": AUTH}


ENVIRONMENT = "my/environment:1"
LOCAL = Catalogue(
    image=(Image(image=ENVIRONMENT, entrypoint=("true",)),),
    credentials_provider=(CredentialsProvider(arn=ARN, command=("vault",)),),
)


@pytest.fixture
def sagemaker():
    """With an engine, and a helper that stands for one function."""
    catalogue = Catalogue(credentials_provider=(CredentialsProvider(arn=ARN, command=("vault",)),))
    images = ImageCatalogue(catalogue, python_paths=lambda prefix: (str(prefix),), container_problem=lambda: None)
    return SageMaker(images=images)


def create(sagemaker, config, image="reg.io/tool:1", name="job"):
    sagemaker(
        "CreateTrainingJob",
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File", "TrainingImageConfig": config},
        RoleArn="arn:aws:iam::000000000000:role/trainer",
        OutputDataConfig={"S3OutputPath": "s3://models/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    return sagemaker.run(sagemaker.store.get(name))


@pytest.mark.parametrize(
    ("config", "helper"),
    [
        (PRIVATE, ("vault",)),
        (PRIVATE | {"TrainingRepositoryAccessMode": "Platform"}, ("vault",)),
        ({"TrainingRepositoryAccessMode": "Vpc"}, ()),
        ({"TrainingRepositoryAccessMode": "Platform"}, ()),
    ],
)
def test_it_is_shown_and_acts(sagemaker, config, helper):
    """Both modes pull, without a VpcConfig; the function becomes the helper that stands for it."""
    job = create(sagemaker, config)

    assert (job.program.reference, job.program.credential_helper) == ("reg.io/tool:1", helper)
    described = sagemaker("DescribeTrainingJob", TrainingJobName="job")
    assert described["AlgorithmSpecification"]["TrainingImageConfig"] == config


def test_a_local_environment_needs_no_login():
    """A function that something stands for is shown, and not asked."""
    sagemaker = SageMaker(images=ImageCatalogue(LOCAL, python_paths=lambda prefix: (str(prefix),)))
    job = create(sagemaker, PRIVATE, image=ENVIRONMENT)

    assert (job.program.reference, job.program.credential_helper) == (None, ())


@pytest.mark.parametrize("known", [False, True])
def test_a_function_that_nothing_stands_for_is_refused_for_local_environments_too(known):
    """Whether or not the image was resolved before."""
    sagemaker = SageMaker(images=ImageCatalogue(LOCAL, python_paths=lambda prefix: (str(prefix),)))
    if known:
        create(sagemaker, {"TrainingRepositoryAccessMode": "Platform"}, image=ENVIRONMENT, name="before")
    other = {"TrainingRepositoryCredentialsProviderArn": f"{ARN}-2"}
    with pytest.raises(ValidationException, match=f"'{ARN}-2' cannot be invoked"):
        create(sagemaker, PRIVATE | {"TrainingRepositoryAuthConfig": other}, image=ENVIRONMENT)
    assert sagemaker.submitted == ["before"] * known


def test_a_function_that_nothing_stands_for_is_refused(sagemaker):
    """Before there is a job."""
    other = {"TrainingRepositoryCredentialsProviderArn": f"{ARN}-2"}
    with pytest.raises(ValidationException, match=f"'{ARN}-2' cannot be invoked"):
        create(sagemaker, PRIVATE | {"TrainingRepositoryAuthConfig": other})

    assert sagemaker.submitted == []
