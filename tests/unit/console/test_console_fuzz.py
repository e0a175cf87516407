"""Whatever stands in an address of the console: a page, and nothing of our insides."""

from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from console_house import House
from factories import make_job

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
SEGMENT = st.sampled_from(["jobs", "a", "logs", "metrics", "delete", "stop", "log.txt", "algorithms", "static", "sign-in", ""]) | TEXT  # fmt: skip
NAME = st.sampled_from(["name", "status", "created_after", "created_before", "token", "deleted", "part", "format", "stream",
                        "filter", "timestamps", "after", "before", "v"]) | TEXT  # fmt: skip
VALUE = st.sampled_from(["rows", "live", "lines", "json", "all", "1", "a/algo-1-1700000002", "2026-01-01", "InProgress"]) | TEXT  # fmt: skip

HOUSE = House().sign_in()
HOUSE.keep(make_job("a", status="Training"))
HOUSE.clock.advance(5)
HOUSE.write("a/algo-1-1700000002", *(f"line {n}" for n in range(700)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT"]),
    segments=st.lists(SEGMENT, max_size=4),
    query=st.dictionaries(NAME, VALUE, max_size=4),
    cookie=TEXT,
    signed_in=st.booleans(),
)
@example(method="GET", segments=["jobs"], query={"created_before": "9999-12-31"}, cookie="", signed_in=True)
@example(method="GET", segments=["jobs", "a", "logs"], query={"filter": "x" * 2000}, cookie="", signed_in=True)
def test_every_address_has_a_well_formed_answer(method, segments, query, cookie, signed_in):
    """With a session or without, with cookies and headers of any kind."""
    path = "/" + "/".join(segments)
    session, HOUSE.cookie = HOUSE.cookie, HOUSE.cookie if signed_in else ""
    try:
        answer = HOUSE.request(
            method,
            f"{path.replace('?', '')}?{urlencode(query)}",
            headers=[(b"cookie", quote(cookie).encode()), (b"sec-fetch-site", b"same-origin")],
            body=quote(cookie).encode(),
        )
    finally:
        HOUSE.cookie = session
    assert answer.status < 500 or (method == "HEAD" and "sign-in" in segments)
    assert "Traceback" not in answer.body.decode(errors="replace")
    if answer.status == 200 and answer.headers["content-type"] == "application/json":
        assert answer.json is not None
    assert answer.headers.get("location", "/_clary/console").startswith("/_clary/console")
