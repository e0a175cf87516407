"""The list of training jobs."""

import pytest

from console_house import House
from factories import NOW, make_job

DAY_MS = 86_400_000  # NOW is 2023-11-14 22:13:20 UTC


@pytest.fixture
def house():
    return House().sign_in()


def names(page):
    return [row["name"] for row in page["rows"]]


def test_without_a_job_it_says_how_to_make_one(house):
    """In Python that a user can run; not where a filter is in the way."""
    page = house.json("/jobs")
    compile(page["example"], "example", "exec")
    assert "create_training_job" in page["example"]
    assert "create_training_job" in house.get("/jobs").text
    assert house.json("/jobs", name="x")["example"] is None
    house.keep(make_job("a"))
    assert house.json("/jobs")["example"] is None


def test_the_newest_come_first_with_what_a_reader_wants_to_know(house):
    """Status, times, and the message of those that are under way alone."""
    house.keep(make_job("old", status="Completed"), make_job("new", status="Training", at=NOW + 60_000))
    house.clock.advance(120)
    new, old = house.json("/jobs")["rows"]

    assert new == {
        "name": "new",
        "path": "/_clary/console/jobs/new",
        "status": "InProgress",
        "secondary_status": "Training",
        "is_under_way": True,
        "creation_time": NOW + 60_000,
        "last_modified_time": NOW + 62_000,
        "end_time": None,
        "duration_s": 60,
        "message": "Training image download completed. Training in progress.",
    }
    assert (old["is_under_way"], old["end_time"], old["duration_s"], old["message"]) == (False, NOW + 4000, 4, None)
    assert house.asked.count("DescribeTrainingJob") == 1


def test_jobs_are_found_by_name_status_and_day(house):
    """Both days belong to the range; the form shows what was asked for."""
    house.keep(
        make_job("train-a", status="Completed"),
        make_job("train-b", status="Training", at=NOW + DAY_MS),
        make_job("other", status="Training", at=NOW + 2 * DAY_MS),
    )
    assert names(house.json("/jobs", name=" train ")) == ["train-b", "train-a"]
    assert names(house.json("/jobs", status="InProgress")) == ["other", "train-b"]
    assert names(house.json("/jobs", created_after="2023-11-15")) == ["other", "train-b"]
    assert names(house.json("/jobs", created_before="2023-11-15")) == ["train-b", "train-a"]
    page = house.json(
        "/jobs", name="train", status="InProgress", created_after="2023-11-14", created_before="2023-11-16"
    )
    assert names(page) == ["train-b"]
    asked = {"name": "train", "status": "InProgress", "created_after": "2023-11-14", "created_before": "2023-11-16"}
    assert asked.items() <= page["filter"].items()
    assert house.get(page["rows_path"].removeprefix("/_clary/console")).status == 200


def test_a_day_begins_with_its_first_millisecond(house):
    """And ends with its last."""
    midnight = 1_700_006_400_000  # 2023-11-15
    house.keep(
        make_job("before", at=midnight - 1), make_job("first", at=midnight), make_job("next", at=midnight + DAY_MS)
    )
    assert names(house.json("/jobs", created_after="2023-11-15", created_before="2023-11-15")) == ["first"]


def test_older_jobs_are_on_further_pages(house):
    """Which keep the filter, lead back, and renew themselves."""
    house.keep(*(make_job(f"job-{n:02}", at=NOW + n) for n in range(60)))
    first = house.json("/jobs", name="job")
    assert names(first) == [f"job-{n:02}" for n in range(59, 34, -1)]
    assert first["first_path"] is None
    second = house.follow(first["next_path"] + "&format=json").json
    assert names(second)[0] == "job-34"
    third = house.follow(second["next_path"] + "&format=json").json
    assert (names(third)[-1], third["next_path"]) == ("job-00", None)
    assert third["first_path"] == "/_clary/console/jobs?name=job"
    rows = house.follow(second["rows_path"])
    assert "job-34" in rows.text
    assert "<html" not in rows.text


@pytest.mark.parametrize(
    "query",
    [
        {"created_after": "yesterday"},
        {"created_before": "2023-13-01"},
        {"created_before": "9999-12-31"},
        {"status": "Nonsense"},
        {"name": "no_such.name"},
        {"token": "x"},
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_a_page(house, query):
    answer = house.get("/jobs", **query)
    assert answer.status == 400
    assert "<html" in answer.text


def test_only_a_name_can_be_said_to_have_been_deleted(house):
    """The notice is no place for somebody else's text."""
    assert "has been deleted" in house.get("/jobs", deleted="a-1").text
    assert "has been deleted" not in house.get("/jobs", deleted="<b>x</b>").text


def test_a_job_that_is_deleted_meanwhile_has_no_message(house):
    """The list stands."""
    house.keep(make_job("a", status="Training"))
    ask = house.ask

    async def without(service, operation, params):
        answer = await ask(service, operation, params)
        if operation == "ListTrainingJobs":
            await house.sagemaker.store.delete(await house.sagemaker.store.get("a"))
        return answer

    house.ask = without
    assert [(row["name"], row["message"]) for row in house.json("/jobs")["rows"]] == [("a", None)]
