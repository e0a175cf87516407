"""The recorded calls to Logs, STS and IAM, answered by the gateway: what the client was given then, it is given here.

Recorded answers come from a stand-in and are no reference for words and ids; what is compared is what the client goes on
with: the HTTP status, the error's code, and every member that it was given, the log events in full.
"""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import create_parser
from botocore.session import Session

from clary.aws.gateway import Gateway
from clary.aws.handlers import Service
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.base.clock import FixedClock, Instant
from clary.logs.memory import MemoryLogStore
from clary.service.identity import Identity
from clary.service.log_streams import LogStreams
from clary.service.roles import Roles
from clary.service.sessions import Sessions

GOLDEN = Path(__file__).with_name("golden")
SERVICES = ("logs", "sts", "iam")
ACCOUNT = "123456789012"
CREDENTIAL = Credential(
    access_key_id="AKIAIOSFODNN7EXAMPLE",
    secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    account_id=ACCOUNT,
    principal_arn=f"arn:aws:iam::{ACCOUNT}:user/example",
    user_id="AIDAEXAMPLE",
)
# Members of the stand-in's answers that are left out here, each for a reason.
NOT_GIVEN = {
    "uploadSequenceToken",  # without meaning since 2023 (API model)
    "storedBytes",  # of a group: not counted, see DescribeLogGroups
}


class Recording:
    """One file: its exchanges with the three services, and a gateway that has the log lines which were told in them."""

    def __init__(self, path):
        document = json.loads(path.read_text())
        self.exchanges = [each for each in document["exchanges"] if each["service"] in SERVICES]
        self.clock = FixedClock()
        store = MemoryLogStore(self.clock)
        for exchange in self.exchanges:
            if exchange["operation"] == "GetLogEvents" and exchange["response"]["status"] == 200:
                asked = exchange["request"]["body"]["json"]
                writer = store.writer(asked["logGroupName"], asked["logStreamName"])
                offset = writer.resume_offset()
                for event in exchange["response"]["body"]["json"]["events"] if offset == 0 else ():
                    offset += 1
                    message = event["message"].encode()
                    writer.append([message], timestamp=Instant(event["timestamp"]), source_offset=offset)
                writer.close()
        sessions = Sessions(b"key", account_id=ACCOUNT)
        handlers = {
            "logs": LogStreams(store, PageTokens(b"key")).handlers(),
            "sts": Identity(sessions, clock=self.clock).handlers(),
            "iam": Roles(since=Instant(0)).handlers(),
        }
        self.gateway = Gateway(
            services=[Service(name=name, handlers=served) for name, served in handlers.items()],
            credentials=lambda key, _: CREDENTIAL if key == CREDENTIAL.access_key_id else None,
            clock=self.clock,
            account_id=ACCOUNT,
            region="us-east-1",
        )

    def ask(self, exchange):
        """Status, headers and body that the recorded request gets, at the time at which it was signed."""
        sent = exchange["request"]
        signed_at = FixedClock(_milliseconds(sent["headers"].get("X-Amz-Date") or sent["headers"]["x-amz-date"]))
        self.clock.advance((signed_at.now() - self.clock.now()) / 1000)
        body = (sent["body"] or {}).get("text", "").encode()
        received, answer = [{"type": "http.request", "body": body, "more_body": False}], []

        async def receive():
            return received.pop(0)

        async def send(message):
            answer.append(message)

        scope = {
            "type": "http",
            "method": sent["method"],
            "path": sent["path"],
            "raw_path": sent["path"].encode(),
            "query_string": "&".join(
                f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sent["query"].items()
            ).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent["headers"].items()],
        }
        asyncio.run(self.gateway(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in answer[0]["headers"]}
        return answer[0]["status"], headers, b"".join(message.get("body", b"") for message in answer[1:])


def _milliseconds(amz_date):
    return round(datetime.fromisoformat(amz_date).timestamp() * 1000)


# Conversations in which the log was complete when it was first read; in the others it grew under the client's polls.
RECORDINGS = [
    GOLDEN / f"{name}.json"
    for name in (
        "boto3-errors",
        "boto3-lifecycle",
        "cli-logs_tail",
        "smv2-default_bucket",
        "smv2-execution_role",
        "smv3-trainer_validate_role",
    )
]


def parsed(exchange, status, headers, body):
    """What botocore makes of an answer."""
    session = Session()
    model = BotocoreModel(session.get_data(f"{exchange['service']}/{_VERSIONS[exchange['service']]}/service-2"))
    shape = model.operation_model(exchange["operation"]).output_shape
    parser = create_parser("query" if exchange["service"] != "logs" else "json")
    return parser.parse({"status_code": status, "headers": headers, "body": body}, shape)


_VERSIONS = {"logs": "2014-03-28", "sts": "2011-06-15", "iam": "2010-05-08"}


def lacks(given, recorded, path=""):
    """Paths of members that were there when it was recorded and are not here."""
    if isinstance(recorded, dict) and isinstance(given, dict):
        for name, value in recorded.items():
            if name not in NOT_GIVEN:
                if name in given:
                    yield from lacks(given[name], value, f"{path}.{name}")
                else:
                    yield f"{path}.{name}"
    elif isinstance(recorded, list) and isinstance(given, list):
        if len(given) < len(recorded):
            yield f"{path}: {len(given)} of {len(recorded)}"
        for one, other in zip(given, recorded, strict=False):
            yield from lacks(one, other, f"{path}[]")


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_the_client_is_given_what_it_was_given_when_recorded(path):
    """CreateRole is refused by name; GetRole of the user's own name finds a role, as every name does here."""
    recording = Recording(path)
    for exchange in recording.exchanges:
        status, headers, body = recording.ask(exchange)
        recorded = exchange["response"]
        if exchange["operation"] == "CreateRole":
            assert (status, b"CreateRole" in body) == (400, True)
            continue
        if exchange["operation"] == "GetRole":
            assert status == 200
            if recorded["status"] == 404:
                continue
        assert status == recorded["status"], body
        content = recorded["body"] or {}
        text = content["text"] if "text" in content else json.dumps(content["json"])
        then = parsed(exchange, status, {}, text.encode())
        now = parsed(exchange, status, headers, body)
        assert now.get("Error", {}).get("Code") == then.get("Error", {}).get("Code")
        del then["ResponseMetadata"]
        assert list(lacks(now, then)) == []
        if exchange["operation"] in {"GetLogEvents", "FilterLogEvents"} and status == 200:
            seen = [(event["timestamp"], event["message"]) for event in now["events"]]
            assert seen == [(event["timestamp"], event["message"]) for event in then["events"]]
