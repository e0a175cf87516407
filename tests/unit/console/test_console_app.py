"""The console as an application: what is its own, how it answers, and what every answer carries."""

import asyncio

import pytest

from clary.console.contexts import FRAGMENTS, TEMPLATES
from clary.console.static_files import StaticFiles
from console_house import House
from factories import make_job

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def house():
    house = House().sign_in()
    house.keep(make_job("a", status="Training"))
    return house


@pytest.mark.parametrize("path", ["/", "/bucket/_clary/console/", "/_clary/health", "/_clary/consoles", "/_clary"])
def test_what_is_not_below_the_consoles_path_goes_on_to_the_gateway(house, path):
    assert house.request("GET", path, base="").status == 299
    assert house.beneath == [path]


def test_a_browser_at_the_door_is_led_to_the_console(house):
    """With the server's bare address; S3 clients, queries, signatures and names of buckets go on to the gateway."""
    html = (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")
    answer = house.request("GET", "/", base="", headers=[html])
    assert (answer.status, answer.headers["location"]) == (303, "/_clary/console/")
    for headers, more in (
        ([(b"accept", b"*/*")], {}),
        ([html, (b"authorization", b"AWS4-HMAC-SHA256 x")], {}),
        ([html], {"list-type": "2"}),
        ([html], {"host": "bucket.localhost:7243"}),
    ):
        assert house.request("GET", "/", base="", headers=headers, **more).status == 299
    assert house.request("POST", "/", base="", headers=[html]).status == 299
    assert house.request("GET", "/bucket", base="", headers=[html]).status == 299


def test_the_start_leads_to_the_jobs(house):
    for path in ("", "/"):
        assert house.get(path).headers["location"] == "/_clary/console/jobs"


@pytest.mark.parametrize("path", ["/jobs", "/jobs/a", "/none", "/static/console.css", "/static/none", "/sign-in", ""])
def test_every_answer_carries_the_guards(house, path):
    """Nothing from elsewhere, nothing inline, no frames, no guessing of types; pages are kept by nobody."""
    answer = house.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    if path != "/static/console.css":
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/jobs", "/jobs/a", "/jobs/a/logs", "/jobs/a/metrics", "/algorithms"])
def test_each_page_names_its_twin(house, path):
    """Which shows the same without the frame, also with the parameters of the page."""
    assert f'href="/_clary/console{path}?format=json"' in house.get(path).text
    assert "page" not in house.json(path)
    assert "csrf" not in house.get(path, format="json").text
    assert "filter=x&amp;format=json" in house.get("/jobs/a/logs", filter="x").text


def test_every_template_is_there():
    """For every context, and every part of a page."""
    from clary.console.render import _environment  # noqa: PLC0415

    for template in (*TEMPLATES.values(), *FRAGMENTS.values()):
        _environment.get_template(template)


@pytest.mark.parametrize(
    "path", ["/none", "/jobs/a/none", "/jobs/a/logs/x", "/static/none.css", "/static/../app.py", "//"]
)
def test_what_is_not_there_is_not_found(house, path):
    assert house.get(path).status in ({303} if path == "//" else {404})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(house, method):
    assert house.request(method, "/jobs").status == 405


@pytest.mark.parametrize("path", ["/jobs", "/jobs/a", "/static/console.css", "/jobs/a/stop2"])
def test_a_post_where_there_is_nothing_to_do_is_not_found(house, path):
    assert house.post(path).status == 404


def test_an_unknown_part_is_refused(house):
    assert house.get("/jobs", part="everything").status == 400


def test_a_form_that_is_too_large_is_refused(house):
    assert house.post("/jobs/a/stop", more="x" * 20_000).status == 413


def test_static_files_are_kept_by_browsers(house):
    """For ever under the address with their version, else until they have changed; without a session, too."""
    files = StaticFiles()
    assert {"console.css", "htmx.min.js", "console.js", "uplot.min.js", "icon.svg"} <= files.addresses.keys()
    house.cookie = ""
    for name, address in files.addresses.items():
        answer = house.follow(address)
        assert answer.status == 200, name
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].partition(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
        plain = house.get(f"/static/{name}")
        assert plain.headers["cache-control"] == "no-cache"
        again = house.get(f"/static/{name}", headers=[(b"if-none-match", plain.headers["etag"].encode())])
        assert (again.status, again.body) == (304, b"")


def test_nothing_is_loaded_from_elsewhere(house):
    """No page names another host, and none has script or style in it."""
    for path in ("/jobs", "/jobs/a", "/jobs/a/logs", "/jobs/a/metrics", "/algorithms", "/none"):
        text = house.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick" not in text
        assert "<script>" not in text
        assert 'src="http' not in text
        assert 'href="http' not in text


def test_another_kind_of_scope_is_the_gateways(house):
    """Such as a WebSocket's."""
    seen = []

    async def beneath(scope, _receive, _send):
        seen.append(scope["type"])

    house.console._beneath = beneath
    asyncio.run(house.console({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]
