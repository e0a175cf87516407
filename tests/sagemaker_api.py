"""SageMaker's operations for tests, without wire, database and instances: `from sagemaker_api import SageMaker`.

What is asked is held against the API model, as the gateway does; what is answered is read by botocore's parser and must
carry every member that the model requires, but for those of `LEFT_OUT`.
"""

import asyncio
import base64
from typing import Any

import botocore.session
import msgspec
from botocore.parsers import create_parser

from clary.aws.errors import AwsError
from clary.aws.handlers import RequestContext
from clary.aws.model import ServiceModel
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.aws.validation import Validators
from clary.base.clock import FixedClock
from clary.compute.port import Capabilities
from clary.service.algorithms import Algorithms
from clary.service.images import ImageCatalogue, load_catalogue
from clary.service.search import Search
from clary.service.tags import TaggedJobs, Tags
from clary.service.training_job_changes import TrainingJobChanges
from clary.service.training_jobs import TrainingJobs
from clary.store.memory import MemoryStore
from clary.store.memory_algorithms import MemoryAlgorithmStore
from factories import ACCOUNT_ID, REGION

MODEL = ServiceModel("sagemaker")
BOTOCORE = botocore.session.Session().get_service_model("sagemaker")
LEFT_OUT = {"ModelArtifacts"}
"""Required by the model and absent while there is nothing: SDK v3 stumbles over an empty one."""

ROLE_ARN = f"arn:aws:iam::{ACCOUNT_ID}:role/trainer"
USER_ARN = f"arn:aws:iam::{ACCOUNT_ID}:user/clary"


class NoChecks:
    """Every object and bucket is there."""

    async def check(self, request):
        pass


class SageMaker:
    """Call it with the name of an operation and its members; a refusal is an `AwsError`.

    `submitted` and `woken` are what the controller was told; `on_wake` may be replaced to play the controller. `images` is
    the image catalogue; without one there are the built-in rules and no container engine.
    """

    def __init__(self, *, store=None, images=None, release_patience_s: float = 10.0) -> None:
        self.store = store or MemoryStore()
        self.clock = FixedClock()
        self.submitted: list[str] = []
        self.woken: list[str] = []
        self.on_wake = lambda name: None
        tokens = PageTokens(b"k" * 32)
        images = images or ImageCatalogue(load_catalogue(None), python_paths=lambda prefix: (str(prefix),))
        algorithms = Algorithms(store=MemoryAlgorithmStore(), images=images, tokens=tokens, clock=self.clock)
        parts = (
            TrainingJobs(
                store=self.store,
                images=images,
                algorithms=algorithms,
                checks=NoChecks(),
                tokens=tokens,
                clock=self.clock,
                find_key=lambda _key_id: None,
                capabilities=lambda _program: Capabilities(),
                submit=lambda job: self.submitted.append(job.training_job_name),
                wake=self._wake,
            ),
            TrainingJobChanges(
                store=self.store, clock=self.clock, wake=self._wake, release_patience_s=release_patience_s
            ),
            Search(store=self.store, tokens=tokens),
            Tags({"training-job": TaggedJobs(self.store)}, tokens=tokens),
        )
        self._handlers = {name: handler for part in parts for name, handler in part.handlers().items()}
        self._validators = Validators()

    def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        """The answer as boto3 would give it."""
        return parsed(operation, self.run(self.call(operation, **params)))

    async def call(self, operation: str, **params: Any) -> Any:
        """The answer as the handler gives it."""
        credential = Credential(
            access_key_id="AKID", secret_access_key="s", account_id=ACCOUNT_ID, principal_arn=USER_ARN, user_id="U"
        )
        context = RequestContext(request_id="r", account_id=ACCOUNT_ID, region=REGION, caller=credential)
        params = self._validators.validate(MODEL.operation(operation).input_shape, params)
        return await self._handlers[operation](context, params)

    def run(self, coroutine):
        """The outcome of a coroutine."""
        return asyncio.run(coroutine)

    def keep(self, *jobs):
        """Put jobs into the store."""
        for job in jobs:
            self.run(self.store.create(job))

    def _wake(self, name):
        self.woken.append(name)
        self.on_wake(name)


def parsed(operation: str, answer: Any) -> dict[str, Any]:
    """What botocore makes of an answer, which it must be able to read."""
    shape = BOTOCORE.operation_model(operation).output_shape
    if shape is None:
        assert answer is None, "the operation has no output"
        return {}
    encoded = msgspec.json.encode(answer)
    assert_complete(msgspec.json.decode(encoded), shape)
    found = create_parser("json").parse({"body": encoded, "headers": {}, "status_code": 200}, shape)
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def assert_complete(value: Any, shape: Any, where: str = "") -> None:
    """Nothing is there that the model does not know, nothing is null, and all that the model requires is there."""
    assert value is not None, where
    if shape.type_name == "structure":
        assert value.keys() <= shape.members.keys(), where
        assert set(shape.required_members) - value.keys() <= LEFT_OUT, where
        for name, member in value.items():
            assert_complete(member, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for item in value:
            assert_complete(item, shape.member, f"{where}[]")


def refusal(sagemaker: SageMaker, operation: str, **params: Any) -> tuple[str, str]:
    """Code and message of the error that the operation answers."""
    try:
        answer = sagemaker(operation, **params)
    except AwsError as error:
        return error.code, error.message
    raise AssertionError(f"{operation} was not refused: {answer}")


def tampered(token: str, inside: bytes) -> set[str]:
    """What a page token must not be taken for: any character changed, cut or added; `inside` as others would wrap it."""
    return {
        *(token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in range(len(token))),
        token[:-1],
        token + "A",
        token * 2,
        "MQ==",
        "null",
        base64.b64encode(inside).decode(),
    }


def create_request(name: str = "job", **changes: Any) -> dict[str, Any]:
    """The least that CreateTrainingJob needs."""
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": "clary/python", "TrainingInputMode": "File"},
        "RoleArn": ROLE_ARN,
        "OutputDataConfig": {"S3OutputPath": "s3://models/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    } | changes
