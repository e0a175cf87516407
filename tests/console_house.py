"""The console over the real operations, without a socket, a database and instances: `from console_house import House`.

    house = House()
    house.keep(make_job("a", status="Training"))
    house.sign_in()
    house.json("/jobs/a")["head"]["status"]; house.get("/jobs/a").text; house.post("/jobs/a/stop")

Paths are those below the console's base. Jobs, logs and metrics are put in behind the operations' backs.
"""

import asyncio
import contextlib
import re
from dataclasses import dataclass
from types import SimpleNamespace
from urllib.parse import urlencode

import msgspec

import asgi_server
from clary.aws.connection import Connection
from clary.aws.handlers import RequestContext
from clary.aws.model import ServiceModel
from clary.aws.paging import PageTokens
from clary.aws.sigv4 import Credential
from clary.aws.validation import Validators
from clary.base.clock import FixedClock, Instant
from clary.compute.port import ABSENT
from clary.console import paths
from clary.console.app import Console
from clary.console.sign_in import SignIn
from clary.logs.memory import MemoryLogStore
from clary.logs.metric_memory import MemoryMetricSeries
from clary.service.algorithm_tags import TaggedAlgorithms
from clary.service.algorithms import Algorithms
from clary.service.images import ImageCatalogue, load_catalogue
from clary.service.log_streams import LogStreams
from clary.service.metrics import Metrics
from clary.service.tags import TaggedJobs, Tags
from clary.service.training_job_execution import TrainingJobExecutions
from clary.store.memory_algorithms import MemoryAlgorithmStore
from factories import ACCOUNT_ID, REGION
from sagemaker_api import MODEL, USER_ARN, SageMaker

USER = Credential(
    access_key_id="AKIA", secret_access_key="s", account_id=ACCOUNT_ID, principal_arn=USER_ARN, user_id="U"
)
CONTEXT = RequestContext(request_id="r", account_id=ACCOUNT_ID, region=REGION, caller=USER)
MODELS = {"sagemaker": MODEL, "logs": ServiceModel("logs"), "monitoring": ServiceModel("monitoring")}
VALIDATORS = {service: Validators() for service in MODELS}
KEY = b"k" * 32
HOST = "127.0.0.1:7243"
GROUP = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class Response:
    """What came: `headers` by lower-case name, `cookies` as they were set."""

    status: int
    headers: dict
    body: bytes
    cookies: tuple = ()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return msgspec.json.decode(self.body)


class House:
    """A console, a browser (which keeps one session) and what stands behind them."""

    def __init__(self, *, ask=None):
        self.clock = FixedClock()
        self.sagemaker = SageMaker()
        self.logs = MemoryLogStore(self.clock)
        self.series = MemoryMetricSeries()
        self.observations = {}
        self.asked = []
        self.beneath = []
        tokens = PageTokens(KEY)
        images = ImageCatalogue(load_catalogue(None), python_paths=lambda prefix: (str(prefix),))
        algorithms = MemoryAlgorithmStore()
        tags = Tags(
            {"training-job": TaggedJobs(self.sagemaker.store), "algorithm": TaggedAlgorithms(algorithms)},
            tokens=tokens,
        )
        handlers = (
            self.sagemaker._handlers
            | Algorithms(store=algorithms, images=images, tokens=tokens, clock=self.clock).handlers()
            | tags.handlers()
        )
        self._handlers = {
            "sagemaker": handlers,
            "logs": LogStreams(self.logs, tokens).handlers(),
            "monitoring": Metrics(self.series, tokens=tokens, clock=self.clock).handlers(),
        }
        self.ask = ask or self._ask
        executions = TrainingJobExecutions(store=self.sagemaker.store, observe=self._observe)
        self.links = SignIn(KEY, access_key_id=USER.access_key_id, clock=self.clock)
        self.console = Console(
            self._beneath,
            operations=SimpleNamespace(
                ask=lambda *question: self.ask(*question),  # noqa: PLW0108  a test may put another in its place
                execution=lambda name: executions.describe(CONTEXT, {"TrainingJobName": name}),
                user=USER,
                region=REGION,
            ),
            sign_in=SignIn(KEY, access_key_id=USER.access_key_id, clock=self.clock),
            clock=self.clock,
            version="1.2.3",
        )
        self.cookie = ""

    async def _ask(self, service, operation, params):
        self.asked.append(operation)
        params = VALIDATORS[service].validate(MODELS[service].operation(operation).input_shape, params)
        return msgspec.to_builtins(await self._handlers[service][operation](CONTEXT, params))

    async def _observe(self, instance_name):
        seen = self.observations.get(instance_name, ABSENT)
        if isinstance(seen, Exception):
            raise seen
        return seen

    async def _beneath(self, scope, receive, send):
        self.beneath.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"beneath"})

    def keep(self, *jobs):
        """Put jobs into the store."""
        self.sagemaker.keep(*jobs)

    def write(self, stream, *lines, at=None):
        """Append lines to a log stream of which nobody else knows; `at` is in milliseconds."""
        writer = self.logs.writer(GROUP, stream)
        offset = writer.resume_offset() + len(lines)
        writer.append(
            [line.encode() for line in lines],
            timestamp=Instant(self.clock.now() if at is None else at),
            source_offset=offset,
        )
        writer.close()

    def sign_in(self):
        """Begin a session, as a browser does with an address of `clary open`."""
        answer = self.request("GET", "/sign-in", token=self.links.make_link_token())
        assert answer.status == 303, answer.text
        (cookie,) = answer.cookies
        self.cookie = cookie.partition(";")[0]
        return self

    def get(self, path, *, headers=(), **query):
        """A page."""
        return self.request("GET", path, headers=headers, **query)

    def json(self, path, **query):
        """A page's twin."""
        answer = self.get(path, format="json", **query)
        assert answer.status == 200, answer.text
        return answer.json

    def csrf_token(self):
        """The one of this session, as it stands in each page."""
        return re.search(r'name="csrf_token" value="([0-9a-f]+)"', self.get("/jobs").text)[1]

    def post(self, path, *, headers=((b"sec-fetch-site", b"same-origin"),), **fields):
        """Send a form of the console's."""
        fields = {"csrf_token": self.csrf_token()} | fields
        return self.request("POST", path, headers=headers, body=urlencode(fields).encode())

    def request(self, method, path, *, headers=(), body=b"", scheme="http", base=paths.BASE, host=HOST, **query):
        """Any request. Parameters that are a name of Python's end in _."""
        sent = [(b"host", host.encode()), *headers]
        if self.cookie:
            sent.append((b"cookie", self.cookie.encode()))
        path, _, given = path.partition("?")
        query = urlencode({name.rstrip("_"): value for name, value in query.items()})
        scope = {
            "type": "http",
            "method": method,
            "scheme": scheme,
            "path": base + path,
            "raw_path": (base + path).encode(),
            "query_string": (given or query).encode(),
            "headers": sent,
        }
        return asyncio.run(_exchange(self.console, scope, body))

    def follow(self, address):
        """What stands at an address of a page, such as `next_path`."""
        return self.request("GET", address, base="")


async def _exchange(application, scope, body):
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    answer = SimpleNamespace(start=None, body=b"")

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()  # the caller listens until he has the answer

    async def send(message):
        if message["type"] == "http.response.start":
            answer.start = message
        else:
            answer.body += message["body"]

    await application(scope, receive, send)
    headers = dict(answer.start["headers"])
    return Response(
        status=answer.start["status"],
        headers={name.decode(): value.decode() for name, value in headers.items()},
        body=answer.body,
        cookies=tuple(value.decode() for name, value in answer.start["headers"] if name == b"set-cookie"),
    )


@contextlib.contextmanager
def served(house):
    """The house's console on a socket, as `clary serve` has it; gives the URL."""
    with asgi_server.served(house.console, http=Connection, log_config=None, ws="none") as url:
        yield url
