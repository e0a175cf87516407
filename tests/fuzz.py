"""A fuzzer for a whole server: `python tests/fuzz.py [--requests 100000] [--seed N]`; ends with 1 if it finds something.

Random bytes, headers, JSON, forms; good requests cut off, doubled, altered; signed and not, for every service. Each must be
answered by one well-formed AWS answer or a closed connection where nothing else is possible, never by a 5xx (but for S3's
own 501); the server may not grow in memory or open files, nor fill its log, nor stumble. `tests/wire/test_fuzz.py` runs a
few thousand.
"""

import argparse
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_from_bytes

from clary.aws import sigv4
from clary.aws.canonical import Request
from clary.aws.model import ServiceModel
from clary.aws.sigv4 import Credential, SigningKeys
from clary.base.clock import SystemClock
from clary.service.operations import OPERATIONS
from model_requests import Drawer, members
from raw_http import NotHttp, code_of, connect, read_answers
from server import serving

CLOCK = SystemClock()
PATIENCE_S = 45
JSON_TARGETS = {"sagemaker": "SageMaker", "logs": "Logs_20140328", "monitoring": "GraniteServiceVersion20100801"}
FORMS = {"sts": "2011-06-15", "iam": "2010-05-08", "monitoring": "2010-08-01"}
# S3 answers 501, NotImplemented, for what it does not have: its own code, and no fault. There is no other 5xx.
ALLOWED_5XX = {("s3", 501): "NotImplemented"}
# Measured: 0.3 to 0.5 MiB in the first 3,000 requests after a warm-up of 500, and 1.1 MiB in 100,000.
GROWTH_KIB = 4096
GROWTH_KIB_PER_REQUEST = 0.02
# Measured: 27 to 29, as connections to the store come and go.
FILES_MORE = 5
# The log says each kind of refusal once in ten seconds; some twenty kinds, of 200 bytes, are drawn.
LOG_BYTES = 20_000
LOG_BYTES_PER_SECOND = 1000
SETTLED_WITHIN_S = 60


class Case(NamedTuple):
    """Bytes to send. `answers` is how many must come back; None: any number, as the bytes need not be a whole request."""

    kind: str
    data: bytes
    answers: int | None = 1
    service: str | None = None
    method: str = "POST"


class Finding(Exception):
    """The server did what it must not."""


class Fuzzer:
    """Makes cases from a seed, and sends them."""

    def __init__(self, url: str, credential: Credential, seed: int) -> None:
        self.url = url
        self.host = url.removeprefix("http://").encode()
        self.credential = credential
        self.random = random.Random(seed)
        self.keys = SigningKeys()
        self.drawer = Drawer(self.random)
        models = {name: ServiceModel(name) for name in OPERATIONS}
        self.operations = [
            (service, name, models[service].operation(name).input_shape)
            for service, names in sorted(OPERATIONS.items())
            for name in sorted(names)
            if service in JSON_TARGETS
        ]
        self.places = {name: list(members(shape)) for _, name, shape in self.operations if shape is not None}
        self.seen: Counter[str] = Counter()
        self.connection: Any = None
        self.other: Any = None

    # What is sent.

    def case(self) -> Case:
        kinds = [
            (4, self.junk), (6, self.junk_headers), (8, self.random_body), (12, self.random_json), (30, self.altered_request),
            (8, self.flipped), (6, self.cut), (6, self.doubled), (8, self.form), (6, self.s3), (4, self.target),
            (4, self.chunked), (4, self.presigned), (5, self.cbor), (4, self.rest),
        ]  # fmt: skip
        make = self.random.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]
        return make()

    def junk(self) -> Case:
        return Case("junk", self._bytes(300) + self.random.choice([b"", b"\r\n\r\n"]), None)

    def junk_headers(self) -> Case:
        names = [
            b"authorization", b"x-amz-date", b"x-amz-target", b"content-type", b"x-amz-security-token", b"expect", b"date",
            b"x-amz-content-sha256", b"connection", b"upgrade", b"te", b"accept", b"smithy-protocol", b"x-" + self._token(20),
            b"content-encoding", b"range", b"cookie", b"host",
        ]  # fmt: skip
        credential = b"Credential=AK/20231114/us-east-1/%b/aws4_request" % self.random.choice(
            [b"sagemaker", b"s3", b"x"]
        )
        values = [
            self._text(60), b"AWS4-HMAC-SHA256 " + credential + b", SignedHeaders=host, Signature=00", b"AWS a:b", b"close",
            b"rpc-v2-cbor", b"SageMaker.ListTrainingJobs", b"application/x-amz-json-1.1", b"application/x-www-form-urlencoded",
            b"20231114T000000Z", b"gzip", b"Upgrade, HTTP2-Settings", b"h2c", b"",
        ]  # fmt: skip
        chosen = [(self.random.choice(names), self.random.choice(values)) for _ in range(self.random.randint(0, 12))]
        method = self.random.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
        body = self._bytes(50)
        expects = any(name == b"expect" for name, _ in chosen)
        line = method.encode() + b" /" + quote_from_bytes(self._bytes(20)).encode() + b" HTTP/1.1"
        headers = [(b"host", self.host), *chosen]
        return Case("headers", self._message(line, headers, body), None if expects else 1, "s3", method)

    def random_body(self) -> Case:
        service, name, _ = self.random.choice(self.operations)
        return self._signed("body", service, name, self._bytes(self.random.choice([10, 1000, 20_000])))

    def random_json(self) -> Case:
        service, name, _ = self.random.choice(self.operations)
        body = json.dumps(self._json(4), ensure_ascii=self.random.random() < 0.5).encode(errors="surrogatepass")
        return self._signed("json", service, name, body)

    def altered_request(self) -> Case:
        """A request that obeys the model, with up to three places changed."""
        service, name, shape = self.random.choice(self.operations)
        if shape is None:
            return self._signed("altered", service, name, b"{}")
        params = self.drawer.draw(shape)
        for _ in range(self.random.randint(0, 3)):
            path, _, _ = self.random.choice(self.places[name])
            value: Any = params
            for step in path[:-1]:
                if isinstance(value, dict):
                    value = value.get(step) or next(iter(value.values()), None)
                elif isinstance(value, list) and value:
                    value = value[-1]
            if isinstance(value, dict):
                value[path[-1]] = self._json(2)
        body = json.dumps(params, default=lambda blob: blob.decode("latin-1")).encode()
        if self.random.random() < 0.1:
            body = body.replace(b"a", b"\\u0000").replace(b"e", b"\\ud800")
        return self._signed("altered", service, name, body)

    def flipped(self) -> Case:
        """One byte of a signed request changed: never a success, unless the byte says nothing."""
        data = bytearray(self.altered_request().data)
        data[self.random.randrange(len(data))] = self.random.randrange(256)
        return Case("flipped", bytes(data), None)

    def cut(self) -> Case:
        data = self.altered_request().data
        return Case("cut", data[: self.random.randrange(len(data))], None)

    def doubled(self) -> Case:
        case = self.altered_request()
        if self.random.random() < 0.5:
            return Case("pipelined", case.data * 2, 2)
        head, _, body = case.data.partition(b"\r\n\r\n")
        return Case("doubled body", head + b"\r\n\r\n" + body + body, None)

    def form(self) -> Case:
        service = self.random.choice(sorted(FORMS.keys() & OPERATIONS.keys()))
        names = [
            "Action",
            "Version",
            "RoleArn",
            "Tags.member.1.Key",
            "ActionNames.member.1",
            "a.b.c.1.2",
            self._word(5),
        ]
        actions = [*sorted(OPERATIONS[service]), "Nothing", self._word(10)]
        pairs = [("Action", self.random.choice(actions)), ("Version", FORMS[service])]
        pairs += [(self.random.choice(names), self._word(30)) for _ in range(self.random.randint(0, 6))]
        body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs).encode()
        if self.random.random() < 0.3:
            body += self._bytes(50)
        headers = [(b"host", self.host), (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")]
        return self._sign("form", service, headers, body)

    def s3(self) -> Case:
        method = self.random.choice(["GET", "GET", "HEAD", "PUT", "DELETE", "POST"])
        bucket = self.random.choice(["fuzz", "fuzz", "no-such-bucket", "..", self._word(8).replace("/", "")])
        key = _quoted(self._word(20), "/") if self.random.random() < 0.8 else ""
        path = f"/{_quoted(bucket)}/{key}".encode()
        if method in {"PUT", "DELETE", "POST"} and not path.startswith(b"/fuzz/"):
            method = "GET"  # buckets by the thousand would test the store and not us
        queries = [
            b"",
            b"",
            b"list-type=2",
            b"uploads",
            b"acl",
            b"versionId=x",
            b"partNumber=1&uploadId=x",
            self._token(10),
        ]
        query = self.random.choice(queries)
        body = self._bytes(200) if method in {"PUT", "POST"} else b""
        kinds = [b"UNSIGNED-PAYLOAD", None, None, b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"0" * 64, self._token(8)]
        declared = self.random.choice(kinds)
        headers = [(b"host", self.host)]
        if self.random.random() < 0.3:
            names = [b"range", b"x-amz-copy-source", b"content-md5", b"x-amz-checksum-crc32", b"if-match", b"x-amz-acl"]
            headers.append((self.random.choice(names), self._text(30)))
        return self._sign("s3", "s3", headers, body, method=method, path=path, query=query, payload=declared)

    def target(self) -> Case:
        prefix = self.random.choice([*JSON_TARGETS.values(), self._word(8)])
        service = self.random.choice([*OPERATIONS, "s3", "dynamodb", "x"])
        name = self.random.choice(["ListTrainingJobs", "DescribeModel", "", self._word(10)])
        target = f"{prefix}.{name}".encode(errors="replace").replace(b"\r", b"").replace(b"\n", b"").strip()
        headers = [(b"host", self.host), (b"x-amz-target", re.sub(rb"[\x00-\x1f\x7f]", b"", target))]
        payload = b"UNSIGNED-PAYLOAD" if service == "s3" else None
        return self._sign("target", service, headers, b"{}", payload=payload)

    def cbor(self) -> Case:
        """RPC v2 CBOR, of random items."""
        name = self.random.choice(["ListMetrics", "GetMetricData", "GetMetricStatistics", "Nothing"])
        body = self._cbor(5) if self.random.random() < 0.8 else self._bytes(100)
        if self.random.random() < 0.2:
            body = body[: self.random.randint(0, len(body))]
        headers = [(b"host", self.host), (b"smithy-protocol", b"rpc-v2-cbor"), (b"content-type", b"application/cbor")]
        path = f"/service/GraniteServiceVersion20100801/operation/{name}".encode()
        return self._sign("cbor", "monitoring", headers, body, path=path)

    def rest(self) -> Case:
        """restJson: the operation is in method and path."""
        path = self.random.choice([b"/BatchPutMetrics", b"/BatchGetMetrics", b"/BatchPutMetrics/", b"/batchputmetrics"])
        method = self.random.choice(["PUT", "POST", "GET"])
        document = {
            "TrialComponentName": self._word(20),
            "MetricData": [
                {"MetricName": self._word(9), "Timestamp": self._json(0), "Value": self._json(0)},
                self._json(2),
            ],
        }
        body = json.dumps(document if self.random.random() < 0.7 else self._json(3)).encode()
        headers = [(b"host", self.host), (b"content-type", b"application/json")]
        return self._sign("rest", "sagemaker", headers, body, method=method, path=path)

    def chunked(self) -> Case:
        body = b"{}"
        head, _, _ = self._signed("", "sagemaker", "ListTrainingJobs", body).data.partition(b"\r\ncontent-length")
        pieces = [
            b"2\r\n{}\r\n",
            b"1\r\n{\r\n",
            b"zz\r\n",
            b"0\r\n\r\n",
            b"fffffffff\r\n",
            self._bytes(9),
            b"\r\n",
            b"2;a=b\r\n{}\r\n",
        ]
        framed = b"".join(self.random.choices(pieces, k=self.random.randint(0, 4)))
        return Case("chunked", head + b"\r\ntransfer-encoding: chunked\r\n\r\n" + framed, None)

    def presigned(self) -> Case:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        names = ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"]
        values = {
            "Algorithm": "AWS4-HMAC-SHA256",
            "Credential": f"{self.credential.access_key_id}/{now[:8]}/us-east-1/{self.random.choice(['sts', 's3'])}/aws4_request",
            "Date": now,
            "Expires": "60",
            "SignedHeaders": "host",
        }
        chosen = [name for name in names if self.random.random() < 0.9]
        query = "&".join(f"X-Amz-{name}={_quoted(values.get(name, self._word(9)), '')}" for name in chosen)
        line = f"GET /?{query}&Action=GetCallerIdentity&Version=2011-06-15 HTTP/1.1".encode()
        return Case("presigned", self._message(line, [(b"host", self.host)], b""), 1, "s3", "GET")

    # How it is sent, and what must come.

    def run(self, count: int, on_progress=lambda _: None) -> Counter[str]:
        """Send so many requests. Raises `Finding`."""
        for number in range(count):
            state = self.random.getstate()
            case = self.case()
            try:
                self._send(case)
            except (Finding, NotHttp, KeyError, ValueError, OSError) as problem:
                self.random.setstate(state)
                raise Finding(f"{number}: {case.kind}: {problem!r}\n{case.data[:3000]!r}") from problem
            self.seen[case.kind] += 1
            on_progress(number)
        self._hang_up()
        if self.other is not None:
            self.other.close()
            self.other = None
        return self.seen

    def _send(self, case: Case) -> None:
        if case.answers is None:
            self._hang_up()
        elif self.connection is None:
            self.connection = connect(self.url, PATIENCE_S)
        if case.answers is not None:
            answers = self._exchange(case)
            if len(answers) != case.answers:
                raise Finding(f"{len(answers)} answers")
            if answers[-1].headers.get("connection") == "close":
                self._hang_up()
        else:
            with connect(self.url, PATIENCE_S) as connection:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(case.data)
                self._wait_for_the_server()
                connection.settimeout(0.001)  # what has not come by now waits for more than we sent
                answers = read_answers(connection, 100, head=case.data.startswith(b"HEAD "), strict=False)
        for answer in answers:
            self._judge(case, answer)

    def _wait_for_the_server(self) -> None:
        """By the time it answers on another connection, it has read what was sent before."""
        if self.other is None:
            self.other = connect(self.url, PATIENCE_S)
        for _ in range(2):
            self.other.sendall(b"GET /_clary/health HTTP/1.1\r\nhost: x\r\n\r\n")
            if read_answers(self.other, 1)[0].status != 200:
                raise Finding("not healthy")

    def _exchange(self, case: Case) -> list[Any]:
        for attempt in (1, 2):
            try:
                self.connection.sendall(case.data)
                answers = read_answers(self.connection, case.answers or 1, head=case.method == "HEAD")
            except (BrokenPipeError, ConnectionResetError):
                answers = []
            if answers or attempt == 2:
                return answers
            self._hang_up()  # the server may have ended a connection that was kept
            self.connection = connect(self.url, PATIENCE_S)
        return []

    def _judge(self, case: Case, answer: Any) -> None:
        has_body = case.method != "HEAD" and not case.data.startswith(b"HEAD ")
        if answer.status >= 500:
            allowed = ALLOWED_5XX.get((case.service or "", answer.status))
            if allowed is None or (has_body and code_of(answer) != allowed):
                raise Finding(f"status {answer.status}: {answer.body[:300]!r}")
        if "x-amzn-requestid" not in answer.headers and "x-amz-request-id" not in answer.headers:
            raise Finding(f"no request id: {answer.headers}")
        if has_body and answer.status >= 400:
            self.seen[f"{answer.status} {code_of(answer)}"] += 1
        else:
            self.seen[f"{answer.status}"] += 1

    def _hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # Pieces.

    def _signed(self, kind: str, service: str, name: str, body: bytes) -> Case:
        target = f"{JSON_TARGETS[service]}.{name}".encode()
        headers = [(b"host", self.host), (b"content-type", b"application/x-amz-json-1.1"), (b"x-amz-target", target)]
        return self._sign(kind, service, headers, body)

    def _sign(self, kind, service, headers, body, *, method="POST", path=b"/", query=b"", payload=None) -> Case:
        request = Request(method=method, raw_path=path, query=query, headers=headers, body=body)
        added = sigv4.sign(
            request,
            credential=self.credential,
            region="us-east-1",
            service=service,
            now=CLOCK.now(),
            signing_keys=self.keys,
            payload_hash=None if payload is None else payload.decode("latin-1"),
        )
        line = method.encode() + b" " + path + (b"?" + query if query else b"") + b" HTTP/1.1"
        return Case(kind, self._message(line, [*headers, *added], body), 1, service, method)

    def _message(self, line: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return line + b"\r\n" + lines + b"content-length: %d\r\n\r\n" % len(body) + body

    def _bytes(self, most: int) -> bytes:
        return self.random.randbytes(self.random.randint(0, most))

    def _token(self, most: int) -> bytes:
        return "".join(self.random.choices("abcxyz019-_", k=self.random.randint(1, most))).encode()

    def _text(self, most: int) -> bytes:
        return bytes(self.random.choices(range(32, 127), k=self.random.randint(0, most))).strip()

    def _word(self, most: int) -> str:
        alphabet = "abcXYZ019-_/.:% ä€\U0001f600\n\x00\"'<&>\ud800"
        return "".join(self.random.choices(alphabet, k=self.random.randint(0, most)))

    def _cbor(self, depth: int) -> bytes:
        """One item of CBOR, mostly well-formed."""
        major = self.random.randrange(8)
        size = self.random.choice([0, 1, 2, 3, 23])
        if major == 2 or (major in {4, 5} and not depth):
            return bytes([0x40 | size]) + self.random.randbytes(size)
        if major == 3:
            names = [b"Namespace", b"MetricName", b"StartTime", b"Dimensions", b"Value", self._text(20)[:23]]
            text = self.random.choice(names)
            return bytes([0x60 | len(text)]) + text
        if major == 4:
            return bytes([0x80 | min(size, 3)]) + b"".join(self._cbor(depth - 1) for _ in range(min(size, 3)))
        if major == 5:
            return bytes([0xA0 | min(size, 3)]) + b"".join(self._cbor(depth - 1) for _ in range(2 * min(size, 3)))
        if major == 6:
            return b"\xc1" + self._cbor(max(depth - 1, 0))
        if major == 7:
            return self.random.choice(
                [b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xff", b"\xfb" + self.random.randbytes(8), b"\xf9\x7e\x00"]
            )
        wide = self.random.choice([0x18, 0x19, 0x1A, 0x1B, 0x1F, 0x9F, 0x5F, 0xBF, 0xBB])
        return bytes([wide]) + self.random.randbytes(8) if self.random.random() < 0.3 else bytes([major << 5 | size])

    def _json(self, depth: int) -> Any:
        choice = self.random.randrange(12 if depth else 9)
        simple = [None, True, False, 0, -1, 2**63, 1e308, "", self._word(20)]
        if choice < len(simple):
            return simple[choice]
        if choice == 9:
            return [self._json(depth - 1) for _ in range(self.random.randint(0, 4))]
        if choice == 10 and self.random.random() < 0.05:
            deep: Any = {}
            for _ in range(2000):
                deep = [deep]
            return [] if len(str(depth)) > 5 else json.loads("[" * 300 + "]" * 300)
        names = ["TrainingJobName", "Tags", "ResourceArn", "NextToken", "logGroupName", "MaxResults", self._word(5)]
        return {self.random.choice(names): self._json(depth - 1) for _ in range(self.random.randint(0, 4))}


def _quoted(text: str, safe: str = "/") -> str:
    return quote(text.encode(errors="surrogatepass"), safe=safe)


class Watched:
    """What the server holds: memory, files, log."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log

    def now(self) -> dict[str, int]:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return {
            "rss_kib": int(re.search(r"VmRSS:\s+(\d+)", status)[1]),
            "files": len(list(Path(f"/proc/{self.pid}/fd").iterdir())),
            "threads": int(re.search(r"Threads:\s+(\d+)", status)[1]),
            "log_bytes": self.log.stat().st_size,
        }


def credential_of(server) -> Credential:
    exports = server.environment()
    return Credential(
        access_key_id=exports["AWS_ACCESS_KEY_ID"],
        secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        account_id="000000000000",
        principal_arn="arn",
        user_id="id",
    )


def fuzz(server, *, requests: int, seed: int, warm_up: int, on_progress=lambda _: None) -> dict[str, Any]:
    """Fuzz a running `Server`; what was seen, and what the server held after the warm-up and at the end.

    Raises `Finding` for an answer that must not be, and for what the server kept, logged or stumbled over.
    """
    server.client("s3").create_bucket(Bucket="fuzz")
    watched = Watched(server.process.pid, server.home.with_name(server.home.name + ".log"))
    fuzzer = Fuzzer(server.url, credential_of(server), seed)
    fuzzer.run(warm_up)
    before = watched.now()
    began = time.monotonic()
    fuzzer.run(requests, on_progress)
    settled = time.monotonic() + SETTLED_WITHIN_S
    after = watched.now()
    while after["files"] > before["files"] + FILES_MORE and time.monotonic() < settled:
        time.sleep(0.1)  # connections that have just been closed are still being let go
        after = watched.now()
    took = time.monotonic() - began
    found = {"seed": seed, "seconds": took, "before": before, "after": after, "seen": dict(fuzzer.seen)}
    problems = [*kept(before, after, requests=requests, seconds=took), *stumbled(server.log_text())]
    if problems:
        raise Finding(f"{'; '.join(problems)}\n{json.dumps(found, indent=1)}\n{server.log_text()[-5000:]}")
    return found


def kept(before: dict[str, int], after: dict[str, int], *, requests: int, seconds: float) -> list[str]:
    """What the server holds more than so many requests may leave."""
    more = {name: after[name] - before[name] for name in before}
    most = {
        "rss_kib": GROWTH_KIB + GROWTH_KIB_PER_REQUEST * requests,
        "files": FILES_MORE,
        "log_bytes": LOG_BYTES + LOG_BYTES_PER_SECOND * seconds,
    }
    return [f"{name} grew by {more[name]}, more than {bound:.0f}" for name, bound in most.items() if more[name] > bound]


def stumbled(log: str) -> list[str]:
    """Lines of the server's log with an exception that nobody expected."""
    return [f"in the log: {line}" for line in log.splitlines() if "traceback" in json.loads(line)][:5]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)

    def progress(number: int) -> None:
        if number % 5000 == 0:
            print(number, flush=True)

    try:
        with serving() as server:
            found = fuzz(server, requests=arguments.requests, seed=arguments.seed, warm_up=3000, on_progress=progress)
    except Finding as finding:
        sys.exit(f"found with seed {arguments.seed}: {finding}")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
