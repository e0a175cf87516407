"""The logs of a training job: newest lines, live lines, earlier lines, searches, whole streams."""

import pytest

from clary.console import log_lines
from clary.console.log_lines import PAGE_LINES, pattern_of
from clary.service.filter_pattern import compile_pattern
from console_house import House
from factories import NOW, make_job, make_request

STREAM = "a/algo-1-1700000002"
HTMX = [(b"hx-request", b"true")]


@pytest.fixture
def house():
    house = House().sign_in()
    house.keep(make_job("a", request=make_request("a", instance_count=3), status="Training"))
    house.clock.advance(5)
    return house


def numbered(first, last):
    return [f"line {n}" for n in range(first, last)]


def texts(lines):
    return [line["message"] for line in lines["lines"]]


def shown(answer):
    """The messages in a piece of HTML."""
    return [part.partition("</span>")[0] for part in answer.text.split('<span class="message">')[1:]]


def test_before_the_first_line_the_page_waits(house):
    """As long as the job runs."""
    page = house.json("/jobs/a/logs")
    assert (page["stream"], page["streams"], page["lines"]["lines"]) == (None, [], [])
    assert page["wait_path"]
    assert page["poll_s"]
    house.keep(make_job("b", status="Failed"))
    page = house.json("/jobs/b/logs")
    assert (page["wait_path"], page["poll_s"]) == (None, None)
    assert house.get("/jobs/b/logs").status == 200


def test_streams_are_in_the_order_of_the_hosts(house):
    """Those of an earlier job of the same name are not this job's."""
    house.clock._at = NOW - 1
    house.write("a/algo-1-1600000000", "of another job")
    house.clock._at = NOW + 5000
    for host in (10, 2, 1):
        house.write(f"a/algo-{host}-1700000002", f"of {host}")
    page = house.json("/jobs/a/logs")
    assert [entry["host"] for entry in page["streams"]] == ["All hosts", "algo-1", "algo-2", "algo-10"]
    assert (page["stream"], texts(page["lines"])) == (STREAM, ["of 1"])
    second = house.follow(page["streams"][2]["path"] + "&format=json").json
    assert texts(second["lines"]) == ["of 2"]
    assert [entry["is_current"] for entry in second["streams"]] == [False, False, True, False]
    assert house.get("/jobs/a/logs", stream="a/algo-1-1600000000").status == 404


def test_a_long_log_shows_its_newest_lines_and_leads_back(house):
    """Earlier ones are added on demand, until there are none."""
    house.write(STREAM, *numbered(0, 1200))
    lines = house.json("/jobs/a/logs")["lines"]
    assert texts(lines) == numbered(700, 1200)
    earlier = house.follow(lines["earlier_path"])
    assert shown(earlier) == numbered(200, 700)
    more = house.follow(lines["earlier_path"] + "&format=json").json
    assert more["follow_path"] is None
    first = house.follow(more["earlier_path"] + "&format=json").json
    assert (texts(first), first["earlier_path"]) == (numbered(0, 200), None)
    assert "Earlier lines" not in house.follow(more["earlier_path"]).text


def test_a_log_of_one_page_leads_nowhere_back(house):
    """Nor an empty one; it does not ask in vain."""
    house.write(STREAM, *numbered(0, PAGE_LINES))
    assert house.json("/jobs/a/logs")["lines"]["earlier_path"] is None


def test_new_lines_come_by_themselves(house):
    """Nothing is sent while there are none; each answer leads on."""
    house.write(STREAM, "one")
    lines = house.json("/jobs/a/logs")["lines"]
    assert house.follow(lines["follow_path"]).status == 204
    house.write(STREAM, "two", "three")
    answer = house.follow(lines["follow_path"])
    assert (answer.status, shown(answer)) == (200, ["two", "three"])
    following = house.follow(lines["follow_path"] + "&format=json").json
    assert (following["earlier_path"], following["skipped"]) == (None, False)
    assert shown(house.follow(following["before_path"])) == ["one"]
    assert house.follow(following["follow_path"]).status == 204


def test_the_last_line_is_shown_before_the_page_stops_asking(house):
    """What was printed before the job's end is there when its end is seen."""
    house.write(STREAM, "one")
    lines = house.json("/jobs/a/logs")["lines"]
    house.write(STREAM, "last")
    end(house, "a")
    answer = house.follow(lines["follow_path"])
    assert (answer.status, shown(answer)) == (200, ["last"])
    following = house.follow(lines["follow_path"] + "&format=json").json["follow_path"]
    answer = house.follow(following)
    assert (answer.status, shown(answer), "hx-trigger" in answer.text) == (286, [], False)
    assert house.json("/jobs/a/logs")["lines"]["follow_path"] is None


def end(house, name):
    store = house.sagemaker.store
    job = house.sagemaker.run(store.get(name))
    ended = make_job(name, request=job.request, status="Completed", version=job.version)
    house.sagemaker.run(store.commit(ended))


def test_a_program_that_prints_faster_than_a_page_follows_makes_it_jump(house):
    """To the newest lines; that some were left out is said, and they are found again."""
    house.write(STREAM, "one")
    lines = house.json("/jobs/a/logs")["lines"]
    house.write(STREAM, *numbered(0, 2000))
    jumped = house.follow(lines["follow_path"] + "&format=json").json
    assert (jumped["skipped"], texts(jumped)) == (True, numbered(1500, 2000))
    assert shown(house.follow(jumped["before_path"])) == numbered(1000, 1500)
    house.write(STREAM, *numbered(2000, 2600))
    followed = house.follow(jumped["follow_path"] + "&format=json").json
    assert (followed["skipped"], texts(followed)) == (False, numbered(2000, 2500))


def test_times_are_shown_on_demand(house):
    """The choice goes along to every further piece."""
    house.write(STREAM, *numbered(0, 600))
    page = house.json("/jobs/a/logs", timestamps="1")
    assert (page["timestamps"], page["lines"]["timestamps"]) == (True, True)
    assert "timestamps=1" in page["lines"]["earlier_path"]
    assert "timestamps=1" in page["lines"]["follow_path"]
    assert "timestamps" not in page["timestamps_path"]
    assert "timestamps=1" in house.json("/jobs/a/logs")["timestamps_path"]
    assert "<time" in house.follow(page["lines"]["earlier_path"]).text


@pytest.mark.parametrize(
    "text",
    ["plain", "two words", 'a "quoted" one', "back\\slash", "%x%", "{ $.a = 1 }", "[a]", "-x", "?x", "é😀", ' " '],
)
def test_a_search_is_for_the_text_as_it_was_typed(text):
    """No letter of it has a meaning of its own."""
    matches = compile_pattern(pattern_of(text))
    assert matches(f"before {text} after")
    if text.strip(' "'):
        assert not matches("something else")


def test_lines_are_found_by_a_text(house):
    """Oldest first; what follows is on a further page."""
    house.write(STREAM, *(f"line {n} {'even' if n % 2 == 0 else 'odd'}" for n in range(1200)))
    page = house.json("/jobs/a/logs", filter="even")
    lines = page["lines"]
    assert (page["filter"], len(lines["lines"]), texts(lines)[0]) == ("even", PAGE_LINES, "line 0 even")
    assert (lines["follow_path"], lines["earlier_path"], lines["more_to_search"]) == (None, None, False)
    later = house.follow(lines["later_path"] + "&format=json").json["lines"]
    assert (len(later["lines"]), texts(later)[-1], later["later_path"]) == (100, "line 1198 even", None)
    assert house.json("/jobs/a/logs", filter="nowhere")["lines"]["lines"] == []
    assert "filter" not in page["clear_path"]


def test_a_search_goes_through_all_hosts(house):
    """Each line says whose it is; without a text all lines are shown, as they came."""
    house.write("a/algo-1-1700000002", "x of 1", at=NOW + 5000)
    house.write("a/algo-2-1700000002", "x of 2", "y of 2", at=NOW + 6000)
    page = house.json("/jobs/a/logs", stream="all", filter="x")
    assert [(line["host"], line["message"]) for line in page["lines"]["lines"]] == [
        ("algo-1", "x of 1"),
        ("algo-2", "x of 2"),
    ]
    assert (page["stream"], page["download_path"]) == ("all", None)
    everything = house.json("/jobs/a/logs", stream="all")["lines"]
    assert texts(everything) == ["x of 1", "x of 2", "y of 2"]
    assert "algo-2" in house.get("/jobs/a/logs", stream="all").text


def test_a_search_that_takes_long_is_given_up_for_now(house, monkeypatch):
    """And goes on from there."""
    monkeypatch.setattr(log_lines, "SEARCH_FOR_S", 0.0)
    monkeypatch.setattr("clary.service.log_filter.EVENTS_SEEN", 100)
    house.write(STREAM, *numbered(0, 150), "needle", *numbered(0, 10))
    page = house.json("/jobs/a/logs", filter="needle")["lines"]
    assert (page["lines"], page["more_to_search"]) == ([], True)
    assert "Search on" in house.get("/jobs/a/logs", filter="needle").text
    assert texts(house.follow(page["later_path"] + "&format=json").json["lines"]) == ["needle"]


def test_a_whole_stream_is_downloaded_as_text(house):
    """With every line, in order; with its times if they are shown; under a name of its own."""
    lines = [*numbered(0, 25_000), "é"]
    house.write(STREAM, *lines, at=NOW + 5000)
    page = house.json("/jobs/a/logs")
    answer = house.follow(page["download_path"])
    assert answer.text == "".join(f"{line}\n" for line in lines)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a-algo-1-1700000002.txt"
    assert "content-length" not in answer.headers
    timed = house.get("/jobs/a/log.txt", timestamps="1").text
    assert timed.startswith("2023-11-14T22:13:25.000Z line 0\n")


def test_what_is_not_there_cannot_be_downloaded(house):
    """A job without a line, all hosts at once, another job's stream."""
    assert house.get("/jobs/a/log.txt").status == 404
    house.write(STREAM, "x")
    house.write("a/algo-2-1700000002", "x")
    house.write("b/algo-1-1700000002", "x")
    for stream in ("all", "b/algo-1-1700000002", "../x"):
        assert house.get("/jobs/a/log.txt", stream=stream).status == 404


@pytest.mark.parametrize("query", [{"part": "lines", "after": "x"}, {"part": "lines", "before": "x"}, {"filter": "x", "token": "y"}])  # fmt: skip
def test_places_that_are_none_are_refused(house, query):
    house.write(STREAM, "x")
    assert house.get("/jobs/a/logs", **query).status == 400
