"""Every operation that is served, against the service model itself: good requests arrive, one broken rule is named.

An unmodified botocore client signs and serialises; its bytes go to the gateway without a socket; botocore reads the
answer. Each case comes from a seed that a failure prints.
"""

import asyncio
import base64
import io
import json
import random
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import json_decode_policies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.aws.gateway import Gateway
from clary.aws.handlers import Service
from clary.aws.model import ServiceModel
from clary.aws.sigv4 import Credential
from clary.base.clock import SystemClock
from clary.service.operations import OPERATIONS
from model_requests import Drawer, broken_requests

ROOT = Credential(
    access_key_id="AKIDEXAMPLE",
    secret_access_key="secret",
    account_id="000000000000",
    principal_arn="arn",
    user_id="id",
)
SERVED = [(service, name) for service, names in sorted(OPERATIONS.items()) for name in sorted(names)]
CLIENTS = {"monitoring": "cloudwatch", "metrics.sagemaker": "sagemaker-metrics"}
QUERY = {"sts", "iam"}
CODES = {"ValidationException", "ValidationError"}
SEEDS = st.integers(0, 2**32)
MANY = settings(
    max_examples=60, deadline=None, derandomize=False, print_blob=True, suppress_health_check=list(HealthCheck)
)


class Here:
    """The gateway with handlers that keep what they get and answer what they are told; `client` talks to it directly."""

    def __init__(self):
        self.received = None
        self.answer = None
        self.models = {name: ServiceModel(name) for name in OPERATIONS}
        services = [
            Service(name=name, handlers=dict.fromkeys(names, self.handle)) for name, names in OPERATIONS.items()
        ]
        self.gateway = Gateway(
            services=services,
            credentials=lambda *_: ROOT,
            clock=SystemClock(),
            account_id="000000000000",
            region="us-east-1",
            body_limit_bytes=64 << 20,
        )
        self.loop = asyncio.new_event_loop()
        self.clients = {name: self._client(name) for name in OPERATIONS}

    async def handle(self, context, params):
        self.received = params
        return self.answer

    def call(self, service, name, params):
        """botocore's answer."""
        self.received = None
        return self.clients[service]._make_api_call(name, params)

    def refusal(self, service, name, case):
        """The code and text of the error; what botocore would not serialise is sent as it is."""
        self.received = None
        client = self.clients[service]

        def put_nulls(params, **_):
            params["body"] = json.dumps(case.params, default=lambda blob: base64.b64encode(blob).decode()).encode()

        if case.has_null:
            client.meta.events.register("before-call", put_nulls, unique_id="nulls")
        try:
            client._make_api_call(name, {} if case.has_null else case.params)
        except ClientError as refused:
            error = refused.response["Error"]
            return error["Code"], error["Message"]
        finally:
            client.meta.events.unregister("before-call", unique_id="nulls")
        return "accepted", ""

    def _client(self, name):
        client = boto3.client(
            CLIENTS.get(name, name),
            endpoint_url="http://here",
            region_name="us-east-1",
            aws_access_key_id=ROOT.access_key_id,
            aws_secret_access_key=ROOT.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )
        client.meta.events.register("before-send", self._send)
        client.meta.events.unregister("after-call.iam", json_decode_policies)  # it would change what was answered
        return client

    def _send(self, request, **_):
        target = urlsplit(request.url)
        headers = [
            (name.lower().encode(), value if isinstance(value, bytes) else str(value).encode())
            for name, value in request.headers.items()
        ]
        headers.append((b"host", target.netloc.encode()))
        body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
        scope = {
            "type": "http",
            "method": request.method,
            "path": target.path,
            "raw_path": target.path.encode(),
            "query_string": target.query.encode(),
            "headers": headers,
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        self.loop.run_until_complete(self.gateway(scope, receive, send))
        start, end = sent
        answered = {key.decode(): value.decode() for key, value in start["headers"]}
        raw = io.BytesIO(end["body"])
        raw.stream = lambda: iter([raw.getvalue()])
        return AWSResponse(request.url, start["status"], answered, raw)


@pytest.fixture(scope="module")
def here():
    found = Here()
    yield found
    found.loop.close()


@pytest.mark.parametrize(("service", "name"), SERVED, ids=lambda value: value)
@MANY
@given(seed=SEEDS)
def test_what_the_model_allows_arrives_as_it_was_sent(here, service, name, seed):
    """Through botocore's serialiser, the signature, our parser and our validators."""
    operation = here.models[service].operation(name)
    here.answer = None
    drawer = Drawer(random.Random(seed), hollow=service not in QUERY)
    params = {} if operation.input_shape is None else drawer.draw(operation.input_shape)
    here.call(service, name, params)
    assert here.received == sendable(params, in_form=service in QUERY)


@pytest.mark.parametrize(("service", "name"), SERVED, ids=lambda value: value)
@MANY
@given(seed=SEEDS)
def test_an_answer_that_the_model_allows_is_read_as_it_was_given(here, service, name, seed):
    """Through our encoder and botocore's parser."""
    shape = here.models[service].operation(name).output_shape
    if shape is None:
        return
    here.answer = Drawer(random.Random(seed), hollow=service not in QUERY).draw(shape)
    request = here.models[service].operation(name).input_shape
    answer = here.call(service, name, {} if request is None else Drawer(random.Random(seed)).draw(request))
    del answer["ResponseMetadata"]
    assert timeless(answer) == here.answer


@pytest.mark.parametrize(("service", "name"), SERVED, ids=lambda value: value)
def test_every_rule_of_every_member_is_enforced_and_named(here, service, name):
    """All of them, at any depth, each broken once: ValidationException with the member's path and the rule."""
    shape = here.models[service].operation(name).input_shape
    if shape is None:
        return  # nothing is asked, nothing can be wrong
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    count = 0
    for number, case in enumerate(broken_requests(shape, random.Random(seed), hollow=service not in QUERY)):
        if case.has_null and service in QUERY:
            continue  # a form has no null
        where = f"seed {seed}, case {number}: {case}"
        code, message = here.refusal(service, name, case)
        assert code in CODES, where
        start = message.find(f"at '{case.path}' failed to satisfy constraint: {case.words}")
        assert start >= 0, (message, where)
        assert case.words != "Member must not be null" or message.startswith("1 validation error detected: "), where
        assert case.rule in message[start:], (message, where)
        assert here.received is None, where
        count += 1
    print(f"{count} cases")


def sendable(value, *, in_form):
    """What arrives of a value: a form knows neither empty maps and structures nor numbers written otherwise."""
    if isinstance(value, dict):
        inner = {key: sendable(item, in_form=in_form) for key, item in value.items()}
        return {key: item for key, item in inner.items() if not in_form or item != {}}
    if isinstance(value, list):
        return [sendable(item, in_form=in_form) for item in value]
    return value


def timeless(value):
    """Timestamps as seconds again."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [timeless(item) for item in value]
    return value.timestamp() if hasattr(value, "timestamp") else value
