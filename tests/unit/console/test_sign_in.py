"""Who gets in: links of `clary open`, sessions, and what is refused to everybody else."""

import pytest

from clary.base.clock import FixedClock
from clary.console.sign_in import LINK_GOOD_FOR_S, SESSION_GOOD_FOR_S, LinkRefused, SignIn
from console_house import HOST, KEY, House
from factories import make_job

SAME_ORIGIN = (b"sec-fetch-site", b"same-origin")


@pytest.fixture
def house():
    house = House()
    house.keep(make_job("a", status="Training"))
    return house


def sign_in(clock=None, *, key=KEY, access_key_id="AKIA"):
    return SignIn(key, access_key_id=access_key_id, clock=clock or FixedClock())


def test_a_link_is_good_once():
    """Each begins a session of its own."""
    gate = sign_in()
    token, other = gate.make_link_token(), gate.make_link_token()
    first = gate.redeem(token)
    assert gate.redeem(other).id != first.id
    with pytest.raises(LinkRefused, match="has been used"):
        gate.redeem(token)


def test_a_link_is_good_for_a_minute():
    """To the millisecond; and not before it was made."""
    clock = FixedClock()
    gate = sign_in(clock)
    token, late = gate.make_link_token(), gate.make_link_token()
    clock.advance(LINK_GOOD_FOR_S - 0.001)
    gate.redeem(token)
    clock.advance(0.001)
    with pytest.raises(LinkRefused, match="too old"):
        gate.redeem(late)
    with pytest.raises(LinkRefused, match="too old"):
        gate.redeem(token)


def test_a_link_from_before_the_servers_start_is_refused():
    """The server cannot know whether it was used."""
    clock = FixedClock()
    token = sign_in(clock).make_link_token()
    clock.advance(1)
    with pytest.raises(LinkRefused, match="last start"):
        sign_in(clock).redeem(token)


@pytest.mark.parametrize("other", [{"key": b"x" * 32}, {"access_key_id": "AKIB"}])
def test_links_and_sessions_belong_to_one_home_and_its_key_pair(other):
    """Those of another are not read at all, under the other's name of the cookie."""
    gate, stranger = sign_in(), sign_in(**other)
    with pytest.raises(LinkRefused, match="not made for this server"):
        gate.redeem(stranger.make_link_token())
    sealed = stranger.seal(stranger.redeem(stranger.make_link_token()))
    assert gate.find(lambda _name: sealed, secure=False) is None
    assert gate.cookie_name(secure=False) != stranger.cookie_name(secure=False)


def test_a_session_is_good_for_its_time_and_for_nothing_else():
    """A link is no session, a session no link, and neither survives a change."""
    clock = FixedClock()
    gate = sign_in(clock)
    link = gate.make_link_token()
    session = gate.redeem(link)
    sealed = gate.seal(session)
    for bad in (link, sealed[:-1], "", "!", ("A" if sealed[0] != "A" else "B") + sealed[1:]):
        assert gate.find(lambda _name, bad=bad: bad, secure=False) is None
    for bad in (sealed, "", "!", "é"):
        with pytest.raises(LinkRefused):
            gate.redeem(bad)
    clock.advance(SESSION_GOOD_FOR_S - 0.001)
    assert gate.find(lambda _name: sealed, secure=False) == session
    clock.advance(0.001)
    assert gate.find(lambda _name: sealed, secure=False) is None


def test_the_cookie_is_for_the_console_alone(house):
    """Scripts cannot read it, other sites cannot send it, and over TLS it goes over TLS alone."""
    answer = house.request("GET", "/sign-in", token=house.links.make_link_token())
    name, _, rest = answer.cookies[0].partition("=")
    value, *attributes = rest.split("; ")
    assert name.startswith("clary-")
    assert value
    assert set(attributes) == {"Path=/_clary", "Max-Age=43200", "HttpOnly", "SameSite=Strict"}
    answer = house.request("GET", "/sign-in", scheme="https", token=house.links.make_link_token())
    assert answer.cookies[0].startswith("__Secure-clary-")
    assert answer.cookies[0].endswith("; Secure")
    house.cookie = answer.cookies[0].partition(";")[0]
    assert house.request("GET", "/jobs", scheme="https").status == 200
    assert house.request("GET", "/jobs").status == 401


@pytest.mark.parametrize(
    "path",
    ["", "/", "/jobs", "/jobs/a", "/jobs/a/logs", "/jobs/a/log.txt", "/jobs/a/metrics", "/jobs/a/delete", "/algorithms",
     "/algorithms/x", "/none"],
)  # fmt: skip
def test_without_a_session_there_is_one_page_only(house, path):
    """It says how to get in, whatever is asked for; nothing was asked of the operations."""
    answer = house.get(path)
    assert answer.status == 401
    assert "clary open" in answer.text
    assert house.get(path, format="json").json["command"] == "clary open"
    assert house.request("POST", path, headers=[SAME_ORIGIN]).status == 401
    assert house.asked == []


def test_a_link_that_is_no_good_says_why(house):
    """Somebody who has signed in already is led on."""
    token = house.links.make_link_token()
    assert house.request("GET", "/sign-in", token=token).status == 303
    answer = house.request("GET", "/sign-in", token=token)
    assert answer.status == 401
    assert "This link has been used" in answer.text
    assert house.request("GET", "/sign-in").status == 401
    house.sign_in()
    answer = house.request("GET", "/sign-in", token=token)
    assert (answer.status, answer.headers["location"]) == (303, "/_clary/console/jobs")


@pytest.mark.parametrize(
    ("method", "headers"), [("HEAD", ()), ("GET", [(b"sec-purpose", b"prefetch;prerender")])], ids=["head", "prefetch"]
)
def test_looking_ahead_does_not_use_up_a_link(house, method, headers):
    """Browsers do so while an address is typed."""
    token = house.links.make_link_token()
    assert house.request(method, "/sign-in", headers=headers, token=token).status == 503
    assert house.request("GET", "/sign-in", token=token).status == 303


def test_a_browser_that_kept_its_cookie_back_may_ask_again(house):
    """It does not send it along with a click on another site: the page offers the same address."""
    text = house.get("/jobs/a/logs", stream="x y").text
    assert 'href="/_clary/console/jobs/a/logs?stream=x+y"' in text


def test_an_open_page_is_led_to_the_way_in(house):
    """When its session has ended, a part of it that asks makes it load again."""
    answer = house.get("/jobs/a", part="live", headers=[(b"hx-request", b"true")])
    assert (answer.status, answer.headers["hx-refresh"]) == (401, "true")


def test_signing_out_ends_the_session_in_the_browser(house):
    house.sign_in()
    answer = house.post("/sign-out")
    assert (answer.status, answer.headers["location"]) == (303, "/_clary/console/")
    assert "Max-Age=0" in answer.cookies[0]
    assert answer.cookies[0].partition("=")[0] == house.cookie.partition("=")[0]


@pytest.mark.parametrize(
    "headers",
    [
        [SAME_ORIGIN],
        [SAME_ORIGIN, (b"origin", b"http://" + HOST.encode())],
        [SAME_ORIGIN, (b"origin", b"null")],
        [(b"origin", b"http://" + HOST.encode())],
        [(b"origin", b"https://" + HOST.encode())],
    ],
)
def test_a_form_of_the_console_is_taken(house, headers):
    """Behind a proxy that ends TLS, too. Browsers without Sec-Fetch-Site send Origin."""
    house.sign_in()
    assert house.post("/jobs/a/stop", headers=headers).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"origin", b"null")],
        [(b"origin", b"http://evil.example")],
        [(b"origin", b"http://127.0.0.1:7244")],
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site"), (b"origin", b"http://" + HOST.encode())],
        [(b"sec-fetch-site", b"none")],
        [SAME_ORIGIN, (b"origin", b"http://evil.example")],
    ],
)
def test_a_form_from_elsewhere_changes_nothing(house, headers):
    """With everything else right."""
    house.sign_in()
    assert house.post("/jobs/a/stop", headers=headers).status == 403
    assert house.json("/jobs/a")["head"]["status"] == "InProgress"


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_without_this_sessions_token_changes_nothing(house, token):
    """A missing, a wrong, and another session's one."""
    house.sign_in()
    other = house.csrf_token()
    house.sign_in()
    for wrong in (token, other):
        assert house.post("/jobs/a/stop", csrf_token=wrong).status == 403
    assert house.json("/jobs/a")["head"]["status"] == "InProgress"
