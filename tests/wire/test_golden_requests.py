"""Every recorded request in `golden/` proves its signer, and every recorded body obeys the model or is refused as recorded."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from clary.aws import json_rpc, sigv2, sigv4
from clary.aws.canonical import Request, headers_by_name
from clary.aws.claim import service_of
from clary.aws.errors import ValidationException
from clary.aws.model import ServiceModel
from clary.aws.query_xml import QUERY_XML
from clary.aws.refusals import Cause, Refused
from clary.aws.sigv4 import Credential, SigningKeys
from clary.aws.validation import Validators
from clary.base.clock import Instant

GOLDEN = Path(__file__).with_name("golden")
EXCHANGES = [
    pytest.param(exchange, id=f"{path.stem}-{exchange['n']}-{exchange['operation']}")
    for path in sorted(GOLDEN.glob("*.json"))
    for exchange in json.loads(path.read_text())["exchanges"]
    if exchange["sigv4_verifies"] in {True, None}  # None: presigned; one body was edited before it was recorded here
]
SERVICES = ("sagemaker", "logs", "monitoring", "sts", "iam")
OPERATIONS = [param for param in EXCHANGES if param.values[0]["service"] in SERVICES]

CREDENTIAL = Credential(
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    account_id="123456789012",
    principal_arn="arn:aws:iam::123456789012:user/example",
    user_id="AIDAEXAMPLE",
)
KNOWN = {CREDENTIAL.access_key_id: CREDENTIAL}.get


@pytest.fixture(scope="module")
def models():
    return {name: (ServiceModel(name), Validators()) for name in SERVICES}


def request_of(exchange):
    """The recorded request; the body of an uploaded file was not kept, then only its declared hash counts."""
    sent = exchange["request"]
    recorded = sent["body"] or {"text": ""}
    body = None
    if "text" in recorded:
        body = recorded["text"].encode()
    elif "base64" in recorded:
        body = base64.b64decode(recorded["base64"])
    return Request(
        method=sent["method"],
        raw_path=sent["path"].encode(),
        query="&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sent["query"].items()).encode(),
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent["headers"].items()],
        body=body,
    )


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_recorded_signature_verifies(exchange):
    """A request of a real client proves its signer, at the time at which it was sent."""
    request = request_of(exchange)
    if sigv2.is_presigned(request.query):
        assert sigv2.verify(request, credentials=KNOWN, now=Instant(1_795_430_000_000)) is CREDENTIAL
        return
    claim = sigv4.read_claim(request)
    keys = SigningKeys()
    now = Instant(claim.signed_at * 1000)
    verified = sigv4.verify(request, credentials=KNOWN, now=now, signing_keys=keys)
    assert verified.credential is CREDENTIAL
    assert service_of(request.query, headers_by_name(request.headers)[b"authorization"]) == exchange["service"]


@pytest.mark.parametrize("exchange", OPERATIONS)
def test_a_byte_changed_on_the_way_is_noticed(exchange):
    """The same request with one more byte in its body proves nothing."""
    request = request_of(exchange)
    tampered = Request(
        method=request.method,
        raw_path=request.raw_path,
        query=request.query,
        headers=request.headers,
        body=request.body + b" ",
    )
    now = Instant(sigv4.read_claim(request).signed_at * 1000)
    with pytest.raises(Refused) as refused:
        sigv4.verify(tampered, credentials=KNOWN, now=now, signing_keys=SigningKeys())
    assert refused.value.cause is Cause.MISMATCH


@pytest.mark.parametrize("exchange", OPERATIONS)
def test_the_recorded_body_obeys_the_model_or_breaks_it_on_purpose(exchange, models):
    """Parsing and validating changes nothing in what a client sent; bad requests are refused where the record says so."""
    model, validators = models[exchange["service"]]
    request = request_of(exchange)
    headers = headers_by_name(request.headers)
    wire = QUERY_XML if exchange["protocol"] == "query" else json_rpc.VERSION_1_1
    name = wire.operation_name(request, headers, model)
    assert name == exchange["operation"]
    operation = model.operation(name)
    params = wire.parse(request, operation)
    answer = exchange["response"]["body"] or {}
    recorded_text = (answer.get("json") or {}).get("message", "")
    if "validation error detected" in recorded_text:
        with pytest.raises(ValidationException) as refused:
            validators.validate(operation.input_shape, params)
        assert recorded_text.startswith(refused.value.message.split(" failed to satisfy")[0])
    else:
        assert validators.validate(operation.input_shape, params) == params
