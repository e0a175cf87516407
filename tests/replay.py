"""Replays a recorded conversation of a client with a server: `Replay(server, scenario).run()`.

The requests are sent as they were recorded, but signed with the server's key, for its host and for now. What the server of
the recording chose (page tokens, upload ids, ETags, names of log streams) is replaced by what this one chose in the same
place, and times are moved, as the client would have done. Bodies of files that the recording left out are stood for by
others of the same length. Programs that slept for seconds sleep for less. A poll that was answered by a later status is
repeated until this server has come as far.
"""

import base64
import json
import re
import time
import zlib
from types import SimpleNamespace
from urllib.parse import quote

from clary.aws import sigv4
from clary.aws.canonical import Request
from clary.aws.sigv4 import Credential, SigningKeys
from clary.base.clock import SystemClock
from raw_http import code_of, connect, read_answers
from server import TERMINAL, wait

CLOCK = SystemClock()
KEYS = SigningKeys()
ADVANCE = ["Starting", "Pending", "Downloading", "Training", "Uploading", "Stopping"]
_OWN = {"host", "authorization", "x-amz-date", "content-length", "x-amz-content-sha256", "connection", "expect"}
_TIMES = re.compile(r"\w*Time(After|Before)?$")
# Contents for files that the recording left out, where the recorded program needs them.
SUBSTITUTES = {
    "environment.py": b"""
with open("/opt/ml/input/sm_training.env", "w") as file:
    file.write("export SM_MODEL_DIR=/opt/ml/model\\n")
""",
    "basic_script_driver.py": b"""
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "train.py"]))
""",
}


class Exchange(SimpleNamespace):
    """One recorded exchange and how this server answered it. `wanted` and `got` are JSON documents where there are any."""


class Replay:
    """One scenario against one server."""

    def __init__(self, server, scenario):
        exports = server.environment()
        self.url = server.url
        self.server = server
        self.credential = Credential(
            access_key_id=exports["AWS_ACCESS_KEY_ID"],
            secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
            account_id="123456789012",
            principal_arn="arn",
            user_id="id",
        )
        self.scenario = scenario
        self.replaced = {}  # what the recorded server chose -> what this one chose
        self.last_seen = {}  # log stream -> time of the last event that this server gave
        self.streams = {}  # job -> its stream here

    def run(self, check):
        """Send everything; `check` gets each `Exchange` and says whether the client goes on."""
        for recorded in self.scenario["exchanges"]:
            exchange = self._exchange(recorded)
            self._remember(exchange)
            if not check(exchange):
                break

    def _exchange(self, recorded):
        answer = recorded["response"]
        document = (answer["body"] or {}).get("json") or {}
        exchange = Exchange(
            n=recorded["n"],
            service=recorded["service"] or "s3",
            operation=recorded["operation"],
            params=(recorded["request"]["body"] or {}).get("json") or {},
            wanted_status=answer["status"],
            wanted_code=_recorded_code(answer),
            wanted=document,
            recorded=recorded,
        )

        def ask():
            exchange.answer = self._send(recorded, exchange)
            exchange.status = exchange.answer.status
            exchange.code = None if exchange.operation.startswith("Head") else code_of(exchange.answer)
            is_json = "json" in exchange.answer.headers.get("content-type", "") and exchange.answer.body
            exchange.got = json.loads(exchange.answer.body) if is_json else {}
            return exchange

        wait(ask, until=_is_as_far, patience_s=60, why=self.server.log_text)
        return exchange

    def _send(self, recorded, exchange):
        sent = recorded["request"]
        if "AWSAccessKeyId" in sent["query"]:
            return self._fetch_presigned(sent)
        body = self._body(sent, exchange)
        query = "&".join(
            f"{quote(k, safe='')}={quote(self._replace(v), safe='')}" for k, v in sent["query"].items()
        ).encode()
        headers = [(b"host", self.url.removeprefix("http://").encode())]
        for name, value in sent["headers"].items():
            if name.lower() not in _OWN:
                headers.append((name.lower().encode(), self._header(name.lower(), value, body).encode("latin-1")))
        path = sent["path"].encode()
        added = sigv4.sign(
            Request(method=sent["method"], raw_path=path, query=query, headers=headers, body=body),
            credential=self.credential,
            region="us-east-1",
            service=exchange.service,
            now=CLOCK.now(),
            signing_keys=KEYS,
        )
        line = sent["method"].encode() + b" " + path + (b"?" + query if query else b"") + b" HTTP/1.1\r\n"
        lines = b"".join(b"%b: %b\r\n" % header for header in [*headers, *added])
        with connect(self.url) as connection:
            connection.sendall(line + lines + b"content-length: %d\r\n\r\n" % len(body) + body)
            return read_answers(connection, 1, head=sent["method"] == "HEAD")[0]

    def _fetch_presigned(self, sent):
        _, bucket, key = sent["path"].split("/", 2)
        url = self.server.client("s3").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
        with connect(self.url) as connection:
            connection.sendall(f"GET {url.removeprefix(self.url)} HTTP/1.1\r\nhost: {self.url[7:]}\r\n\r\n".encode())
            return read_answers(connection, 1)[0]

    def _header(self, name, value, body):
        if name == "x-amz-checksum-crc32":
            return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        return self._replace(value)

    def _body(self, sent, exchange):
        recorded = sent["body"]
        if not recorded:
            return b""
        if "json" in recorded:
            return json.dumps(self._params(exchange)).encode()
        if "text" in recorded:
            text = recorded["text"]
            if exchange.operation == "CompleteMultipartUpload":
                text = self._parts(text)
            return text.encode()
        if "base64" in recorded:
            return base64.b64decode(recorded["base64"])
        name = sent["path"].rpartition("/")[2]
        return SUBSTITUTES.get(name, b"#" * recorded["length"])

    def _params(self, exchange):
        sent_at = time.strptime(exchange.recorded["request"]["headers"]["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        shift = time.time() - (time.mktime(sent_at) - time.timezone)
        params = self._moved(exchange.params, shift)
        arguments = params.get("AlgorithmSpecification", {}).get("ContainerArguments")
        if arguments:
            quick = [re.sub(r"\bsleep 1\b", "sleep 0.05", text) for text in arguments]
            params["AlgorithmSpecification"]["ContainerArguments"] = quick
        if exchange.service == "logs" and params.get("startTime"):
            params["startTime"] = self.last_seen.get(params["logStreamName"], 0)
        return params

    def _moved(self, value, shift):
        if isinstance(value, dict):
            return {
                name: inner + shift if _TIMES.match(name) and isinstance(inner, float) else self._moved(inner, shift)
                for name, inner in value.items()
            }
        if isinstance(value, list):
            return [self._moved(inner, shift) for inner in value]
        return self._replace(value) if isinstance(value, str) else value

    def _replace(self, text):
        return self.replaced.get(text, text)

    def _parts(self, text):
        """The parts with the ETags and checksums that this server gave, by number."""

        def part(found):
            etag, checksum = self.replaced["part", found["number"]]
            return (
                f"<Part><ETag>{etag}</ETag><PartNumber>{found['number']}</PartNumber>"
                f"<ChecksumCRC32>{checksum}</ChecksumCRC32></Part>"
            )

        return re.sub(r"<Part>.*?<PartNumber>(?P<number>\d+)</PartNumber>.*?</Part>", part, text)

    def _remember(self, exchange):
        """What was chosen by the two servers in the same place."""
        for name in ("NextToken", "nextToken", "nextForwardToken", "nextBackwardToken"):
            if name in exchange.wanted and name in exchange.got:
                self.replaced[exchange.wanted[name]] = exchange.got[name]
        if exchange.operation == "DescribeLogStreams":
            for theirs, ours in zip(
                exchange.wanted.get("logStreams", ()), exchange.got.get("logStreams", ()), strict=False
            ):
                self.replaced[theirs["logStreamName"]] = ours["logStreamName"]
        if exchange.operation == "GetLogEvents" and exchange.got.get("events"):
            stream = self._replace(exchange.params["logStreamName"])
            self.last_seen[stream] = exchange.got["events"][-1]["timestamp"]
        headers = exchange.answer.headers
        theirs = {name.lower(): value for name, value in exchange.recorded["response"]["headers"].items()}
        if "etag" in theirs and "etag" in headers:
            self.replaced[theirs["etag"]] = headers["etag"]
        if exchange.operation == "UploadPart":
            number = exchange.recorded["request"]["query"]["partNumber"]
            self.replaced["part", number] = (headers["etag"], headers["x-amz-checksum-crc32"])
        if exchange.operation == "CreateMultipartUpload":
            recorded = exchange.recorded["response"]["body"]["text"].encode()
            theirs_id, our_id = (
                re.search(rb"<UploadId>(.*?)</UploadId>", text)[1].decode() for text in (recorded, exchange.answer.body)
            )
            self.replaced[theirs_id] = our_id


def _recorded_code(answer):
    body = answer["body"] or {}
    if answer["status"] < 400:
        return None
    if "json" in body:
        return body["json"].get("__type")
    found = re.search(r"<Code>(.*?)</Code>", body.get("text", ""))
    return found[1] if found else None


def _is_as_far(exchange):
    """Whether this server has come at least as far as the recorded answer shows the other one."""
    if exchange.status >= 400:
        # A group or stream that is not there yet: clients ask again, as for a list that is still short.
        return exchange.code != "ResourceNotFoundException" or exchange.wanted_status >= 400
    if exchange.operation == "DescribeTrainingJob":
        wanted, got = exchange.wanted["SecondaryStatus"], exchange.got["SecondaryStatus"]
        if got == wanted or exchange.got["TrainingJobStatus"] in TERMINAL:
            return True
        return wanted in ADVANCE and got in ADVANCE and ADVANCE.index(got) >= ADVANCE.index(wanted)
    if exchange.operation == "DescribeLogStreams":
        return len(exchange.got["logStreams"]) >= len(exchange.wanted.get("logStreams", ()))
    return True
