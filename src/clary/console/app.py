"""The console: an ASGI application before the gateway's. What is not below `/_clary/console` it hands to the gateway as it is.

`clary.app` makes one `Console`. Everything but static files and the way in needs a session; what changes anything takes a
POST with the session's token from a page of the console itself. Pages are made by `…_page` from what the operations
answer; whatever they raise becomes a page that says so, and nothing of our insides.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import msgspec

from clary.aws.body import Disconnected, Receive
from clary.aws.errors import AwsError
from clary.aws.gateway import ASGIApp
from clary.base.clock import Clock
from clary.base.telemetry import get_logger
from clary.console import paths, render
from clary.console.algorithm_pages import algorithm_page, algorithms_page
from clary.console.contexts import (
    FRAGMENTS,
    TEMPLATES,
    Crumb,
    LogLines,
    PageFrame,
    ProblemPage,
    SignedOutPage,
    twin,
)
from clary.console.http import (
    HTML,
    JSON,
    TEXT,
    Answer,
    Asked,
    Scope,
    Send,
    is_browser_at_door,
    is_of_console,
    redirect,
    send_answer,
)
from clary.console.job_page import delete_job, job_delete_page, job_page, stop_job
from clary.console.jobs_page import jobs_page
from clary.console.logs_page import log_file, logs_page
from clary.console.metrics_page import metrics_page
from clary.console.operations import Operations
from clary.console.sign_in import SESSION_GOOD_FOR_S, LinkRefused, Session, SignIn
from clary.console.static_files import StaticFiles
from clary.console.visit import BadAddress, NoSuchPage, Visit

_PARTS = frozenset({"rows", "live", "lines"})
_STOP_POLLING = 286
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")

_Pages = dict[tuple[str, ...], Callable[..., Awaitable[Any]]]

_PAGES: _Pages = {
    ("jobs",): jobs_page,
    ("jobs", "*"): job_page,
    ("jobs", "*", "logs"): logs_page,
    ("jobs", "*", "metrics"): metrics_page,
    ("jobs", "*", "delete"): job_delete_page,
    ("algorithms",): algorithms_page,
    ("algorithms", "*"): algorithm_page,
}
"""What a GET of each address shows; * is a name, which the function gets."""

_ACTIONS: _Pages = {("jobs", "*", "stop"): stop_job, ("jobs", "*", "delete"): delete_job}
"""What a POST does; the function answers with the page to go on."""

_FILES: _Pages = {("jobs", "*", "log.txt"): log_file}
"""What is downloaded."""

_log = get_logger("console")


class Console:
    """The application; `beneath` has all that is none of its business."""

    def __init__(
        self,
        beneath: ASGIApp,
        *,
        operations: Operations,
        sign_in: SignIn,
        clock: Clock,
        version: str,
    ) -> None:
        self._beneath = beneath
        self._operations = operations
        self._sign_in = sign_in
        self._clock = clock
        self._user = operations.user.principal_arn
        self._account_id = operations.user.account_id
        self._region = operations.region
        self._version = version
        self._static = StaticFiles()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._beneath(scope, receive, send)
        elif is_of_console(scope):
            asked = Asked(scope, receive)
            try:
                answer = await self._answer(asked)
            except Disconnected:
                return
            await send_answer(send, receive, answer)
        elif is_browser_at_door(scope):
            await send_answer(send, receive, redirect(paths.START))
        else:
            await self._beneath(scope, receive, send)

    async def _answer(self, asked: Asked) -> Answer:
        session = self._sign_in.find(asked.cookie, secure=asked.secure)
        try:
            return await self._found(asked, session)
        except Disconnected:
            raise
        except asyncio.CancelledError:  # the server stops and has waited long enough
            return self._problem(asked, session, 503, "The server is stopping", "Try again when it is back.")
        except NoSuchPage as error:
            return self._problem(asked, session, 404, "Not found", str(error))
        except BadAddress as error:
            return self._problem(asked, session, 400, "This address is not right", str(error))
        except AwsError as error:
            status = 409 if error.code == "ResourceInUse" else error.http_status
            return self._problem(asked, session, status, "The request was refused", error.message)
        except Exception:  # noqa: BLE001
            # Whatever a page lets through ends here: the operator gets the traceback.
            _log.error("page failed", path=asked.scope["path"])
            return self._problem(asked, session, 500, "Something went wrong", "The server's log says what it was.")

    async def _found(self, asked: Asked, session: Session | None) -> Answer:
        match asked.method, asked.segments:
            case "GET", ("static", name):
                return self._static_file(asked, name)
            case "GET", ("sign-in",):
                return self._signed_in(asked, session)
        if session is None:
            return self._signed_out(asked, "")
        match asked.method, asked.segments:
            case "GET", ():
                return redirect(paths.JOBS)
            case "GET", segments:
                return await self._page(asked, session, segments)
            case "POST", segments:
                return await self._act(asked, session, segments)
        return self._problem(asked, session, 405, "Not allowed", "Pages are got with GET, and changed with POST.")

    async def _page(self, asked: Asked, session: Session, segments: tuple[str, ...]) -> Answer:
        visit = self._visit(asked, session)
        file, names = _route(_FILES, segments)
        if file is not None:
            name, content = await file(visit, *names)
            disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()
            return Answer(200, TEXT, b"" if asked.is_head else content, ((b"content-disposition", disposition),))
        page, names = _route(_PAGES, segments)
        if page is None:
            raise NoSuchPage("There is no such page.")
        part = asked.query.get("part")
        if part is not None and part not in _PARTS:
            raise BadAddress(f"There is no part of a page that is called {part}.")
        context = await page(visit, *names)
        if context is None:
            return Answer(204, TEXT, b"")
        if asked.wants_json:
            return Answer(200, JSON, twin(context))
        if part is None or isinstance(context, LogLines):
            template = TEMPLATES[type(context)]
        else:
            template = FRAGMENTS.get(type(context), TEMPLATES[type(context)])
        return Answer(_STOP_POLLING if _is_last(asked, context) else 200, HTML, render.render(template, context))

    async def _act(self, asked: Asked, session: Session, segments: tuple[str, ...]) -> Answer:
        if not asked.is_of_the_same_origin:
            return self._problem(asked, session, 403, "Not allowed", "Only pages of this console can change anything.")
        given = (await asked.form()).get("csrf_token", "")
        if not hmac.compare_digest(given.encode(), self._sign_in.csrf_token(session).encode()):
            message = "The page was made for another session. Load it again, and try once more."
            return self._problem(asked, session, 403, "Not allowed", message)
        if segments == ("sign-out",):
            _log.info("signed out")
            return redirect(paths.START, self._set_cookie(asked, "", 0))
        action, names = _route(_ACTIONS, segments)
        if action is None:
            raise NoSuchPage("There is no such page.")
        path: str = await action(self._visit(asked, session), *names)
        _log.info("changed by the console", path=asked.scope["path"], user=self._user)
        return redirect(path)

    def _visit(self, asked: Asked, session: Session) -> Visit:
        def frame(
            title: str, section: str, crumbs: tuple[Crumb, ...], *, notice: str | None = None, has_twin: bool = True
        ) -> PageFrame:
            return self._frame(asked, session, title, section, crumbs, notice=notice, has_twin=has_twin)

        return Visit(
            ask=self._operations.ask,
            execution=self._operations.execution,
            query=asked.query,
            now=self._clock.now(),
            account_id=self._account_id,
            frame=frame,
        )

    def _frame(
        self,
        asked: Asked,
        session: Session | None,
        title: str,
        section: str = "",
        crumbs: tuple[Crumb, ...] = (),
        *,
        notice: str | None = None,
        has_twin: bool = False,
    ) -> PageFrame:
        query = {name: value for name, value in asked.query.items() if name not in {"part", "format", "deleted"}}
        path = "/".join((paths.BASE, *(quote(segment, safe="") for segment in asked.segments)))
        return PageFrame(
            title=title,
            section=section,
            crumbs=crumbs,
            base_path=paths.BASE,
            static=self._static.addresses,
            now=self._clock.now(),
            version=self._version,
            region=self._region,
            account_id=self._account_id,
            user="" if session is None else self._user,
            csrf_token="" if session is None else self._sign_in.csrf_token(session),
            json_path=paths.with_query(path, **query, format="json") if has_twin else None,
            jobs_path=paths.JOBS,
            algorithms_path=paths.ALGORITHMS,
            sign_out_path=paths.SIGN_OUT,
            notice=notice,
        )

    def _signed_in(self, asked: Asked, session: Session | None) -> Answer:
        if asked.is_head or b"prefetch" in asked.headers.get(b"sec-purpose", b""):
            return Answer(503, TEXT, b"")  # a browser that looks ahead must not use up the link
        try:
            begun = self._sign_in.redeem(asked.query.get("token", ""))
        except LinkRefused as refused:
            return redirect(paths.JOBS) if session is not None else self._signed_out(asked, str(refused))
        _log.info("signed in", user=self._user)
        return redirect(paths.JOBS, self._set_cookie(asked, self._sign_in.seal(begun), SESSION_GOOD_FOR_S))

    def _set_cookie(self, asked: Asked, value: str, max_age_s: int) -> tuple[bytes, bytes]:
        name = self._sign_in.cookie_name(secure=asked.secure)
        secure = "; Secure" if asked.secure else ""
        text = f"{name}={value}; Path={paths.COOKIE_PATH}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
        return b"set-cookie", text.encode()

    def _signed_out(self, asked: Asked, reason: str) -> Answer:
        is_page = asked.method == "GET" and asked.segments != ("sign-in",)
        context = SignedOutPage(
            page=self._frame(asked, None, "Sign in"),
            reason=reason,
            command="clary open",
            retry_path=asked.address if is_page and "part" not in asked.query else None,
        )
        return self._other(asked, 401, context)

    def _problem(self, asked: Asked, session: Session | None, http_status: int, heading: str, message: str) -> Answer:
        of_job = asked.method == "POST" and len(asked.segments) == 3 and http_status != 404
        context = ProblemPage(
            page=self._frame(asked, session, heading),
            http_status=http_status,
            heading=heading,
            message=message,
            back_path=paths.job(asked.segments[1]) if of_job else paths.JOBS,
        )
        return self._other(asked, http_status, context)

    def _other(self, asked: Asked, http_status: int, context: SignedOutPage | ProblemPage) -> Answer:
        """A page in place of the one that was asked for. An open page whose part is asked for is to show it, too."""
        refresh = http_status in {401, 404} and b"hx-request" in asked.headers
        headers = ((b"hx-refresh", b"true"),) if refresh else ()
        if asked.wants_json:
            return Answer(http_status, JSON, twin(context), headers)
        return Answer(http_status, HTML, render.render(TEMPLATES[type(context)], context), headers)

    def _static_file(self, asked: Asked, name: str) -> Answer:
        file = self._static.find(name)
        if file is None:
            raise NoSuchPage("There is no such file.")
        etag = f'"{file.version}"'.encode()
        caching = _FOREVER if asked.query.get("v") == file.version else (b"cache-control", b"no-cache")
        headers = (caching, (b"etag", etag))
        if asked.headers.get(b"if-none-match") == etag:
            return Answer(304, file.content_type.encode(), b"", headers)
        return Answer(200, file.content_type.encode(), file.content, headers)


def _route(pages: _Pages, segments: tuple[str, ...]) -> tuple[Callable[..., Awaitable[Any]] | None, tuple[str, ...]]:
    """What has that address, and the names in it."""
    for pattern, page in pages.items():
        if len(pattern) == len(segments) and all(
            expected in {"*", given} for expected, given in zip(pattern, segments, strict=True)
        ):
            return page, tuple(given for expected, given in zip(pattern, segments, strict=True) if expected == "*")
    return None, ()


def _is_last(asked: Asked, context: msgspec.Struct) -> bool:
    """Whether this part of a page is the last that will come."""
    if isinstance(context, LogLines):
        return "after" in asked.query and context.follow_path is None
    return asked.query.get("part") == "live" and getattr(context, "poll_s", None) is None
