"""The composition root: settings to objects, and the order in which they start and stop.

Called by `clary serve`. The only place, with the instance program's `__main__`, that chooses adapters. Everything starts
from the ground up and stops the other way round; what has started is stopped whatever fails after it. Stopping leaves
ML instances running: the next start finds them.
"""

import asyncio
import contextlib
import hmac
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from clary.aws.connection import Connection
from clary.aws.gateway import ASGIApp, Gateway
from clary.aws.paging import PageTokens
from clary.aws.s3_gate import S3Gate
from clary.aws.sigv4 import Credential, CredentialLookup
from clary.aws.throttle import Throttle
from clary.base import faults
from clary.base.arn import partition
from clary.base.clock import SystemClock
from clary.base.files import AlreadyLocked, exclusive_lock, write_atomically
from clary.base.home import ClientCredentials, Home, ServerInfo
from clary.base.kept_port import kept_listener
from clary.base.settings import Settings
from clary.compute.local import LocalCompute
from clary.compute.port import Capabilities, LaunchFailed
from clary.console.app import Console
from clary.console.operations import Operations
from clary.console.sign_in import SignIn
from clary.controller.act import Actor
from clary.controller.loop import Controller
from clary.controller.manifest_grants import ManifestGrants
from clary.controller.tasks import Site
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Program
from clary.jobs.task import StorageGrant
from clary.keys.key_store import KeyStore
from clary.logs.files import FileLogStore
from clary.logs.metric_files import FileMetricSeries
from clary.runtimes import choice, fuse, overlays, volumes
from clary.runtimes.docker.watch import EngineWatch
from clary.runtimes.fast_file_setting import FastFileSetting
from clary.runtimes.process import ProcessRuntime
from clary.runtimes.python_paths import NoPython, python_environment_paths
from clary.runtimes.volume_setting import VolumeSetting
from clary.service.algorithm_tags import TaggedAlgorithms
from clary.service.algorithms import Algorithms
from clary.service.batch_metrics import BatchMetrics
from clary.service.data_checks import DataChecks
from clary.service.identity import Identity
from clary.service.images import ImageCatalogue, InvalidCatalogue, load_catalogue
from clary.service.kms_aliases import KmsAliases
from clary.service.kms_cryptography import KmsCryptography
from clary.service.kms_for_storage import kms_for_storage
from clary.service.kms_key_ids import KeyIds
from clary.service.kms_keys import KmsKeys
from clary.service.log_streams import LogStreams
from clary.service.metrics import Metrics
from clary.service.operations import services
from clary.service.roles import Roles
from clary.service.search import Search
from clary.service.sessions import Sessions
from clary.service.tags import TaggedJobs, Tags
from clary.service.training_job_changes import TrainingJobChanges
from clary.service.training_job_execution import TrainingJobExecutions
from clary.service.training_jobs import TrainingJobs
from clary.storage.certificate import self_signed
from clary.storage.port import Credentials, S3Address
from clary.storage.s3 import S3Storage
from clary.storage.seaweedfs import EmbeddedS3
from clary.storage.session_policy import Grant, UngrantableName
from clary.storage.sts import StsClient, StsRefused
from clary.store.sqlite import SqliteStore

faults.declare("app.program_released")

_CERTIFICATE = "certificate.pem"  # in the home's directory for TLS


class HomeInUse(Exception):
    """Another server runs on this home."""


class CannotListen(Exception):
    """The address cannot be listened on; the text says why."""


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[str]:
    """Clary at work while the block runs; yields the URL of the API. Raises `HomeInUse`, `CannotListen`, and what the
    parts raise when they cannot start (`StoreUnavailable`, `InvalidCatalogue`).
    """
    async with contextlib.AsyncExitStack() as stack:
        home = Home(settings.home)
        home.prepare()
        try:
            stack.enter_context(exclusive_lock(home.lock))
        except AlreadyLocked:
            info = home.server()
            where = f" on {info.url}" if info else ""
            raise HomeInUse(
                f"another `clary serve` is using {home.root}{where}; stop it, or choose another --home"
            ) from None
        listener = stack.enter_context(_listener("listen", settings.listen_host, settings.listen_port))
        url = f"http://{_authority(listener)}"
        tls = None if settings.tls_listen is None else _tls_context(settings, home)
        tls_listener = None
        if settings.tls_listen is not None:
            tls_listener = stack.enter_context(_listener("tls_listen", *settings.tls_listen))
        clock = SystemClock()
        credentials = home.credentials()
        tokens = PageTokens(home.token_key())
        keys = KeyStore(home.kms, clock=clock)
        key_ids = KeyIds(keys, region=settings.region, account_id=settings.account_id)
        kms_listener = stack.enter_context(kept_listener(home.kms / "port"))

        s3 = EmbeddedS3(
            home.root,
            clock=clock,
            region=settings.region,
            account_id=settings.account_id,
            s3_port=settings.s3_port or None,
            kms_url=f"http://{_authority(kms_listener)}",
        )
        kms = (
            KmsKeys(keys, key_ids, tokens=tokens, clock=clock),
            KmsAliases(keys, key_ids, tokens=tokens, clock=clock),
            KmsCryptography(key_ids),
        )
        store_kms = kms_for_storage(
            {name: handler for some in kms for name, handler in some.handlers().items()},
            store=lambda: s3.credentials,
            clock=clock,
            account_id=settings.account_id,
            region=settings.region,
        )
        await stack.enter_async_context(_http(store_kms, [(kms_listener, None)]))
        await s3.start()
        stack.push_async_callback(s3.stop)
        store = await SqliteStore.open(home.database)
        stack.push_async_callback(store.close)
        engine = EngineWatch(settings.container_engine, os.environ, home.root / "instances")
        await engine.look()
        images = ImageCatalogue(
            load_catalogue(settings.images),
            python_paths=_python_paths,
            container_problem=lambda: engine.problem,
            ecr_helper=_ecr_helper(settings.ecr_profile),
        )
        await asyncio.to_thread(images.environment_paths, Path(sys.prefix))
        volume_setting = await asyncio.to_thread(_volume_setting, settings, home)

        fast_file = FastFileSetting(settings.fast_file, home.root / "run")

        def release_program(directory: Path) -> None:
            choice.release(directory)
            faults.point("app.program_released")
            files = InstanceFiles(directory.parent)
            fuse.detach(files.fast_file)
            overlays.detach_below(files.overlays)  # what is mounted cannot be deleted
            volumes.detach(files.volume)

        compute = LocalCompute(
            home.root, logs=home.logs, release_program=release_program, runtime_problem=ProcessRuntime().problem
        )
        await asyncio.to_thread(compute.capabilities)  # looks for a problem now rather than at the first request
        stack.push_async_callback(compute.close)
        sts = StsClient(s3.endpoint_url, credential=s3.credentials, role_arn=s3.role_arn, region=s3.region, clock=clock)
        storage = _storage(s3)
        actor = Actor(
            compute=compute,
            grants=_Grants(sts),
            named_by_manifests=ManifestGrants(storage).of,
            clock=clock,
            site=lambda: Site(
                region=settings.region,
                s3_endpoint_url=s3.endpoint_url,
                container_engine=engine.url or "",
                limited=settings.instance_limits,
                volumes=volume_setting.given(),
                file_systems={name: str(path) for name, path in settings.file_systems.items()},
                input_cache=str(settings.input_cache) if settings.input_cache_bytes else "",
                input_cache_bytes=settings.input_cache_bytes,
                verify_multipart_etags=settings.verify_multipart_etags,
                fast_file=fast_file.way(),
            ),
        )
        controller = Controller(
            store=store, compute=compute, actor=actor, clock=clock, instance_count=settings.instances
        )
        sessions = Sessions(home.token_key(), account_id=settings.account_id)
        callers = _callers(credentials, s3.credentials, sessions, settings)
        gate = S3Gate(
            upstream_url=s3.endpoint_url,
            credential=s3.credentials,
            callers=callers,
            clock=clock,
            region=settings.region,
            find_key=key_ids.usable_id,
        )
        await gate.start()
        stack.push_async_callback(gate.close)
        algorithm_store = store.algorithms()
        algorithms = Algorithms(store=algorithm_store, images=images, tokens=tokens, clock=clock)
        training_jobs = TrainingJobs(
            store=store,
            images=images,
            algorithms=algorithms,
            checks=DataChecks(
                storage,
                clock=clock,
                region=settings.region,
                file_systems=settings.file_systems,
                no_fast_file=fast_file.refusal,
            ),
            tokens=tokens,
            clock=clock,
            find_key=key_ids.usable_id,
            capabilities=lambda program: _capabilities(program, compute, volume_setting, settings),
            submit=controller.submit,
            wake=controller.wake,
        )
        series = FileMetricSeries(home.logs)
        gateway = Gateway(
            services=services(
                sagemaker=(
                    training_jobs,
                    TrainingJobChanges(store=store, clock=clock, wake=controller.wake),
                    Search(store=store, tokens=tokens),
                    algorithms,
                    Tags(
                        {"training-job": TaggedJobs(store), "algorithm": TaggedAlgorithms(algorithm_store)},
                        tokens=tokens,
                    ),
                ),
                sts=Identity(sessions, clock=clock),
                iam=Roles(since=home.created_at()),
                kms=kms,
                logs=LogStreams(FileLogStore(home.logs, clock=clock), tokens),
                monitoring=Metrics(series, tokens=tokens, clock=clock),
                sagemaker_metrics=BatchMetrics(series, store=store, clock=clock),
            ),
            credentials=callers,
            clock=clock,
            account_id=settings.account_id,
            region=settings.region,
            s3=gate,
            body_limit_bytes=settings.body_limit_bytes,
            throttle=Throttle(settings.throttle_rps, burst=settings.throttle_burst),
        )
        executions = TrainingJobExecutions(store=store, observe=compute.observe)
        console = Console(
            gateway,
            operations=Operations(gateway, executions, user=_user(credentials, settings), region=settings.region),
            sign_in=SignIn(home.token_key(), access_key_id=credentials.access_key_id, clock=clock),
            clock=clock,
            version=metadata.version("clary"),
        )
        await stack.enter_async_context(_background(controller.run()))
        await stack.enter_async_context(_background(engine.run()))
        listeners = [(listener, None)] if tls_listener is None else [(listener, None), (tls_listener, tls)]
        await stack.enter_async_context(_http(console, listeners))
        home.note_server(
            ServerInfo(
                url=url,
                s3_endpoint_url=s3.endpoint_url,
                region=settings.region,
                account_id=settings.account_id,
                tls_url=None if tls_listener is None else f"https://{_authority(tls_listener)}",
                ca_bundle=None if tls is None or settings.tls_certificate else str(home.tls / _CERTIFICATE),
            )
        )
        yield url


class _Grants:
    """The token service as the controller wants it."""

    def __init__(self, sts: StsClient) -> None:
        self._sts = sts

    async def grant(self, grants: tuple[Grant, ...], *, duration_s: int, session_name: str) -> tuple[StorageGrant, ...]:
        try:
            sessions = await self._sts.assume(grants, duration_s, session_name)
        except (StsRefused, UngrantableName) as error:
            raise LaunchFailed(f"No credentials for the job's data: {error}") from error
        return tuple(
            StorageGrant(
                access=grant.access,
                bucket=grant.bucket,
                prefix=grant.prefix,
                exact=grant.exact,
                access_key_id=session.access_key_id,
                secret_access_key=session.secret_access_key,
                session_token=session.session_token,
                expiration=session.expiration,
            )
            for covered, session in sessions
            for grant in covered
        )


def _volume_setting(settings: Settings, home: Home) -> VolumeSetting:
    instances = home.root / "instances"
    volumes.detach_strays(instances)
    return VolumeSetting(settings.volumes, instances)


def _capabilities(
    program: Program, compute: LocalCompute, volume_setting: VolumeSetting, settings: Settings
) -> Capabilities:
    """What can run here for a program. That containers can, the image catalogue has seen to."""
    problem = volume_setting.problem()
    if program.reference is not None:
        most = settings.instances
        return Capabilities(problem=problem, instance_count_max=most, isolated_instance_count_max=most)
    found = compute.capabilities()
    return msgspec.structs.replace(found, problem=found.problem or problem, instance_count_max=settings.instances)


def _python_paths(prefix: Path) -> tuple[str, ...]:
    try:
        return python_environment_paths(prefix)
    except NoPython as error:
        raise InvalidCatalogue(str(error)) from None


def _ecr_helper(profile: str) -> tuple[str, ...]:
    """A program of its own: the instance program, which starts it, is to import no AWS client."""
    return (sys.executable, "-P", "-m", "clary.cli.ecr_login", profile) if profile else ()


def _user(client: ClientCredentials, settings: Settings) -> Credential:
    """Who has the client key pair."""
    return Credential(
        access_key_id=client.access_key_id,
        secret_access_key=client.secret_access_key,
        account_id=settings.account_id,
        principal_arn=f"arn:{partition(settings.region)}:iam::{settings.account_id}:user/clary",
        user_id=client.user_id,
    )


def _callers(client: ClientCredentials, store: Credential, sessions: Sessions, settings: Settings) -> CredentialLookup:
    """Who may call: the client key pair, the sessions that were made of it, and the store's own.

    The store's is there so that `clary env --direct-s3` needs only one pair.
    """
    known = {client.access_key_id: _user(client, settings), store.access_key_id: store}

    def find(access_key_id: str, session_token: str | None) -> Credential | None:
        return known.get(access_key_id) or sessions.find(access_key_id, session_token)

    return find


def _storage(s3: EmbeddedS3) -> S3Storage:
    own = Credentials(access_key_id=s3.credentials.access_key_id, secret_access_key=s3.credentials.secret_access_key)
    return S3Storage(S3Address(endpoint_url=s3.endpoint_url, region=s3.region), lambda: own, retry_total_s=10.0)


@contextlib.contextmanager
def _listener(setting: str, host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, bound before anything is started: a taken port must not cost a started store."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1024)
        except OSError as error:
            cure = "choose another address with --listen" if setting == "listen" else f"change the setting {setting}"
            raise CannotListen(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; {cure}") from None
        listener.set_inheritable(False)
        yield listener


def _authority(listener: socket.socket) -> str:
    """Host and port as they stand in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls_context(settings: Settings, home: Home) -> ssl.SSLContext:
    """What the TLS listener proves itself with: the operator's certificate, or one of our own for the names below."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        home.tls.mkdir(mode=0o700, exist_ok=True)
        certificate, key = home.tls / _CERTIFICATE, home.tls / "key.pem"
        names = ["localhost", "127.0.0.1", "::1", f"sts.{settings.region}.amazonaws.com"]
        if settings.tls_listen is not None and settings.tls_listen[0] not in {*names, "0.0.0.0", "::"}:
            names.append(settings.tls_listen[0])
        # A key of its own for each set of names, always the same for the same: clients go on trusting it after a restart.
        seed = hmac.digest(home.token_key(), f"tls {names}".encode(), "sha256")
        pair = self_signed(seed, common_name="Clary", names=names)
        write_atomically(certificate, pair.certificate)
        write_atomically(key, pair.private_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(f"tls_certificate {certificate} and tls_key {key} cannot be used: {error}") from None
    return context


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: `clary serve` has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _http(
    application: ASGIApp, listeners: Iterable[tuple[socket.socket, ssl.SSLContext | None]]
) -> AsyncIterator[None]:
    """Take requests while the block runs; then answer those under way, on all listeners at once, for 10 seconds at most."""
    servers = [(_server(application, tls), listener) for listener, tls in listeners]
    tasks = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    while not all(server.started or task.done() for (server, _), task in zip(servers, tasks, strict=True)):  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # uvicorn offers no event for "accepting"
    try:
        yield
    finally:
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def _server(application: ASGIApp, tls: ssl.SSLContext | None) -> _Server:
    return _Server(
        uvicorn.Config(
            application,
            http=Connection,
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=True,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=10,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
    )


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
