"""The address that `clary open` makes."""

from urllib.parse import parse_qs, urlsplit

import pytest

from clary.base.clock import SystemClock
from clary.base.files import exclusive_lock
from clary.base.home import Home, ServerInfo
from clary.cli.console import NoConsole, sign_in_address
from clary.console.sign_in import SignIn


@pytest.fixture
def home(tmp_path):
    """A home with a server that says where it listens."""

    def listening(url="http://127.0.0.1:7243", tls_url=None):
        home.note_server(
            ServerInfo(url=url, s3_endpoint_url="", region="us-east-1", account_id="000000000000", tls_url=tls_url)
        )

    home = Home(tmp_path)
    home.prepare()
    home.listening = listening
    return home


def test_it_begins_a_session_with_that_homes_server(home):
    """Which has another process, and the same home."""
    home.listening()
    gate = SignIn(home.token_key(), access_key_id=home.credentials().access_key_id, clock=SystemClock())
    with exclusive_lock(home.lock):
        address = urlsplit(sign_in_address(home, tls=False))
    assert f"{address.scheme}://{address.netloc}{address.path}" == "http://127.0.0.1:7243/_clary/console/sign-in"
    assert gate.redeem(parse_qs(address.query)["token"][0])


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("http://0.0.0.0:7243", "http://127.0.0.1:7243/"),
        ("http://[::]:7243", "http://[::1]:7243/"),
        ("http://192.0.2.1:80", "http://192.0.2.1:80/"),
    ],
)
def test_it_leads_where_a_browser_can_go(home, url, start):
    """A server that listens on all addresses is reached on this machine's own."""
    home.listening(url)
    with exclusive_lock(home.lock):
        assert sign_in_address(home, tls=False).startswith(start)


def test_it_leads_to_the_tls_listener_if_there_is_one(home):
    home.listening(tls_url="https://127.0.0.1:7444")
    with exclusive_lock(home.lock):
        assert sign_in_address(home, tls=True).startswith("https://127.0.0.1:7444/_clary/")
        home.listening()
        with pytest.raises(NoConsole, match="tls_listen"):
            sign_in_address(home, tls=True)


def test_without_a_running_server_there_is_none(home):
    """One that never ran, and one that ran."""
    with pytest.raises(NoConsole, match="clary serve"):
        sign_in_address(home, tls=False)
    home.listening()
    with pytest.raises(NoConsole, match="clary serve"):
        sign_in_address(home, tls=False)
