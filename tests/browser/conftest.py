"""A real browser over the console of a real server. Whatever a page complains of, or asks another origin for, fails the test."""

import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from needs import need
from server import CLARY, PATIENCE_S

CHROMIUM = Path("/usr/bin/chromium")
QUIET = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
PATIENCE_MS = PATIENCE_S * 1000

expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.sandbox)


class Console:
    """The console of a server, as a person sees it."""

    def __init__(self, browser, server):
        self._browser = browser
        self.server = server
        self.base = f"{server.url}/_clary/console"
        self.cookies = None
        self.problems = []
        self._contexts = []

    def link(self):
        """A fresh address that signs in."""
        command = [*CLARY, "open", "--home", str(self.server.home), "--print"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def page(self, path="/jobs", *, signed_in=True, **looks):
        """A page in a browser window of its own; in the session that the tests of a module share."""
        if signed_in and self.cookies is None:
            self.cookies = self._sign_in()
        context = self._browser.new_context(storage_state=self.cookies if signed_in else None, **looks)
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("request", self._see)
        if path is not None:
            page.goto(self.base + path)
        return page

    def close(self):
        """Close all windows."""
        while self._contexts:
            self._contexts.pop().close()

    def _sign_in(self):
        context = self._browser.new_context()
        page = context.new_page()
        page.goto(self.link(), timeout=PATIENCE_MS)
        state = context.storage_state()
        context.close()
        return state

    def _hear(self, message):
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.location.get('url')}: {message.text}")

    def _see(self, request):
        if not request.url.startswith(f"{self.server.url}/"):
            self.problems.append(f"asked for {request.url}")


@pytest.fixture(scope="module")
def browser():
    """Chromium. Not longer than a module: an open Playwright leaves an event loop running, which other tests would meet."""
    need("browser", None if CHROMIUM.exists() else f"there is no {CHROMIUM}; install the package chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*QUIET], timeout=PATIENCE_MS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def one_console(browser, server):
    """The console of the module's server."""
    return Console(browser, server)


@pytest.fixture
def console(one_console):
    """The console of the module's server; no page of the test may complain (a test takes what it provoked off `problems`)."""
    one_console.problems.clear()
    yield one_console
    one_console.close()
    assert one_console.problems == []
