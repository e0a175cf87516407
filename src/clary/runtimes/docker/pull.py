"""Has an image on this machine: finds it, or pulls it from its registry with progress, patience and a login.

Called by `runtime` for `Runtime.provide_image`. An image that is there already is taken as it is, as `docker run` does.
Trouble of the registry is waited for some minutes; what no waiting cures is told at once, with what to do.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import msgspec
from docker.auth import encode_header

from clary.base import typed
from clary.base.telemetry import get_logger
from clary.jobs.image_reference import ImageReference, InvalidReference, is_image_id, parse_reference
from clary.jobs.status import DOWNLOADING_IMAGE_MESSAGE
from clary.runtimes.docker.architecture import BINFMT_MISC, architecture_problem
from clary.runtimes.docker.engine import explanation
from clary.runtimes.docker.login import Login, LoginFailed, find_login
from clary.runtimes.docker.pull_progress import PullProgress
from clary.runtimes.docker.pull_trouble import cure, is_full, may_pass
from clary.runtimes.port import CannotStart, EngineAway, ImageUnusable, Say

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0, 30.0)
"""Before each further attempt at a pull that failed for something which may pass."""

_SAY_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.1

_log = get_logger("runtimes")

Cancelled = Callable[[], bool]


class PullFailed(Exception):
    """The engine could not pull; the text is its own. `status` is that of its answer, None if the pull had begun."""

    def __init__(self, said: str, status: int | None = None) -> None:
        super().__init__(said)
        self.status = status


def provide(
    client: docker.APIClient,
    reference: str,
    credential_helper: Sequence[str],
    say: Say,
    cancelled: Cancelled,
    *,
    pauses_s: Sequence[float] = PAUSES_S,
    binfmt: Path = BINFMT_MISC,
) -> str | None:
    """Have the image here. Returns what names exactly it from then on: "repository@sha256:…" as its registry knows it, or,
    for one that no registry knows, its id; None when cancelled.

    `credential_helper` is the command that knows the login at the registry; none: Docker's own configuration does. Raises
    `ImageUnusable`, `CannotStart` if the engine cannot hold it, `EngineAway`, and what `client` raises while its engine
    does not answer.
    """
    if is_image_id(reference):
        found = _inspect(client, reference)
        if found is None:
            raise ImageUnusable(
                f"The training image '{reference}' is not on this machine (any more), and an id cannot be pulled. Name the "
                "image by its repository."
            )
        _check_architecture(client, reference, found, binfmt)
        return reference
    try:
        name = parse_reference(reference)
    except InvalidReference as error:
        raise ImageUnusable(f"Invalid training image: {error}.") from None
    found = _inspect(client, str(name))
    if found is None:
        if not _pull_patiently(client, name, credential_helper, say, cancelled, pauses_s):
            return None
        found = _inspect(client, str(name))
    if found is None:
        raise EngineAway(f"The container engine pulled the training image '{reference}' and does not have it")
    _check_architecture(client, reference, found, binfmt)
    return _exact_name(name, found)


def _inspect(client: docker.APIClient, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.inspect_image(name)
    except docker.errors.NotFound:
        return None
    except docker.errors.APIError as error:
        raise EngineAway(f"The container engine cannot tell of images: {explanation(error)}") from error
    return found


def _exact_name(name: ImageReference, found: dict[str, Any]) -> str:
    for known in found.get("RepoDigests") or ():
        try:
            other = parse_reference(known)
        except InvalidReference:  # "<none>@<none>"
            continue
        if other.full_repository == name.full_repository and other.digest and name.digest in {None, other.digest}:
            return str(other)
    return str(found["Id"])


def _check_architecture(client: docker.APIClient, reference: str, found: dict[str, Any], binfmt: Path) -> None:
    version = client.version()
    problem = architecture_problem(
        reference,
        (found.get("Os") or "", found.get("Architecture") or ""),
        (version.get("Os") or "", version.get("Arch") or ""),
        binfmt,
    )
    if problem is not None:
        raise ImageUnusable(problem)


def _pull_patiently(
    client: docker.APIClient,
    name: ImageReference,
    credential_helper: Sequence[str],
    say: Say,
    cancelled: Cancelled,
    pauses_s: Sequence[float],
) -> bool:
    """Pull, again and again if need be; whether the image is there, and not cancelled."""
    login = Login()
    pauses = iter(pauses_s)
    while True:
        try:
            login = find_login(name.registry, credential_helper)
            return _pull(client, name, login, say, cancelled)
        except LoginFailed as error:
            raise ImageUnusable(f"No login for the training image '{name}': {error}.") from None
        except PullFailed as failed:
            if is_full(str(failed)):
                raise CannotStart(
                    f"The container engine has no room for the training image '{name}': {failed}. Cure: docker image prune"
                ) from failed
            pause_s = next(pauses, None)
            if pause_s is None or not may_pass(str(failed), failed.status):
                raise ImageUnusable(
                    f"The training image '{name}' cannot be pulled: {failed}. {cure(name, str(failed), login.trouble)}"
                ) from failed
            _log.warning("pull put off", image=str(name), error=str(failed), pause_s=pause_s)
            say(f"{DOWNLOADING_IMAGE_MESSAGE}: the registry {name.registry} gives trouble, trying again ({failed})")
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            if cancelled():
                return False
            time.sleep(min(_LOOK_AGAIN_S, pause_s))  # nobody tells of a cancellation


def _pull(client: docker.APIClient, name: ImageReference, login: Login, say: Say, cancelled: Cancelled) -> bool:
    """One pull; False when cancelled. Raises `PullFailed` and what the client raises."""
    say(DOWNLOADING_IMAGE_MESSAGE)
    progress = PullProgress()
    said_at = time.monotonic()
    stream = _Stream(client, name, login)
    while not cancelled():
        for message in stream.take():
            if message is None:
                return True
            if problem := message.get("error") or (message.get("errorDetail") or {}).get("message"):
                raise PullFailed(str(problem))
            progress.feed(message)
        if time.monotonic() >= said_at + _SAY_EVERY_S:
            said_at = time.monotonic()
            say(progress.text())
    stream.abort()
    return False


class _Stream:
    """The engine's messages about a pull, read by a thread of their own: nothing interrupts a read that waits.

    A thread that is left behind ends with its next message, or with this process; the engine gives the pull up then.
    """

    def __init__(self, client: docker.APIClient, name: ImageReference, login: Login) -> None:
        self._client = client
        self._name = name
        self._login = login
        self._messages: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()
        self._response: Any = None
        self._aborted = False
        threading.Thread(target=self._read, daemon=True, name="pull").start()

    def take(self) -> Iterator[dict[str, Any] | None]:
        """What has come, after a moment's wait for it; None: the pull has ended. Raises what the reading did."""
        patient = True
        while True:
            try:
                message = self._messages.get(timeout=_LOOK_AGAIN_S) if patient else self._messages.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, Exception):
                raise message
            yield message
            patient = False

    def abort(self) -> None:
        """End the pull."""
        self._aborted = True
        if self._response is not None:
            self._response.raw.shutdown()  # wakes the reader, as closing would not

    def _read(self) -> None:
        try:
            for message in self._post():
                if self._aborted:
                    return
                self._messages.put(message)
            self._messages.put(None)
        except Exception as error:  # noqa: BLE001 - raised again by whoever takes
            self._messages.put(error)

    def _post(self) -> Iterator[dict[str, Any]]:
        """The request that the client's own `pull` makes: its answer has to be at hand, to be ended before its time."""
        headers = {}
        if self._login.auth_config is not None:
            headers["X-Registry-Auth"] = encode_header(self._login.auth_config)
        with self._client.post(
            f"{self._client.base_url}/v{self._client.api_version}/images/create",
            params={"fromImage": self._name.repository, "tag": self._name.version},
            headers=headers,
            stream=True,
            timeout=None,  # a registry may keep the engine waiting for long
        ) as response:
            self._response = response
            if self._aborted:
                return
            if response.status_code != 200:
                raise PullFailed(_said(response.content), response.status_code)
            for line in response.iter_lines():
                if line:
                    yield typed.from_json(line, dict[str, Any])


def _said(body: bytes) -> str:
    try:
        return str(typed.from_json(body, dict[str, Any])["message"])
    except (msgspec.DecodeError, KeyError):
        return body.decode(errors="replace").strip()
