"""ListTrainingJobs: what a page holds, in which order, and how to go on."""

from datetime import UTC, datetime

import pytest

from factories import NOW, arn, make_job
from sagemaker_api import SageMaker, create_request, refusal, tampered

BAD_TOKEN = ("ValidationException", "The NextToken is not valid for this request.")


@pytest.fixture
def sagemaker():
    return SageMaker()


@pytest.fixture
def dozen(sagemaker):
    """job-00 to job-11, a second apart; every third has failed."""
    for n in range(12):
        sagemaker.keep(make_job(f"job-{n:02}", at=NOW + 1000 * n, status="Failed" if n % 3 == 0 else "Starting"))
    return sagemaker


def names(page):
    return [summary["TrainingJobName"] for summary in page["TrainingJobSummaries"]]


def walk(sagemaker, **query):
    """The names page by page, as a paginator goes."""
    pages = [sagemaker("ListTrainingJobs", **query)]
    while "NextToken" in pages[-1]:
        pages.append(sagemaker("ListTrainingJobs", NextToken=pages[-1]["NextToken"], **query))
    return [names(page) for page in pages]


def at(milliseconds):
    """As botocore sends it, and as the other SDKs do."""
    return milliseconds / 1000


# --- what is shown


def test_a_summary_has_these_members(sagemaker):
    """TrainingEndTime only when the job has ended."""
    sagemaker.keep(make_job("Job", status="Completed"), make_job("other", at=NOW - 1))

    done, at_work = sagemaker("ListTrainingJobs")["TrainingJobSummaries"]

    assert done.keys() == {
        "TrainingJobName",
        "TrainingJobArn",
        "CreationTime",
        "LastModifiedTime",
        "TrainingEndTime",
        "TrainingJobStatus",
        "SecondaryStatus",
    }
    assert (done["TrainingJobName"], done["TrainingJobArn"]) == ("Job", arn("job"))
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Completed", "Completed")
    assert done["CreationTime"] == datetime.fromtimestamp(NOW / 1000, tz=UTC)
    assert done["TrainingEndTime"] == done["LastModifiedTime"] == datetime.fromtimestamp(NOW / 1000 + 4, tz=UTC)
    assert at_work.keys() == done.keys() - {"TrainingEndTime"}


@pytest.mark.parametrize("status", ["Failed", "Stopped", "MaxRuntimeExceeded", "Completed"])
def test_every_ended_job_shows_its_end(sagemaker, status):
    sagemaker.keep(make_job("job", status=status))

    assert "TrainingEndTime" in sagemaker("ListTrainingJobs")["TrainingJobSummaries"][0]


def test_no_job_is_an_empty_list_without_a_token(sagemaker):
    assert sagemaker("ListTrainingJobs") == {"TrainingJobSummaries": []}


# --- order and pages


def test_without_a_word_a_page_holds_ten_newest_first(dozen):
    assert walk(dozen) == [[f"job-{n:02}" for n in range(11, 1, -1)], ["job-01", "job-00"]]


@pytest.mark.parametrize("size", [1, 5, 12, 100])
def test_pages_hold_as_many_as_were_asked_for(dozen, size):
    """And the last has no token, full or not."""
    pages = walk(dozen, MaxResults=size, SortOrder="Ascending")

    assert [name for page in pages for name in page] == [f"job-{n:02}" for n in range(12)]
    assert [len(page) for page in pages] == [size] * (12 // size) + ([12 % size] if 12 % size else [])


@pytest.mark.parametrize("size", [0, 101])
def test_a_page_holds_one_to_a_hundred(dozen, size):
    code, message = refusal(dozen, "ListTrainingJobs", MaxResults=size)

    assert code == "ValidationException"
    assert f"Value '{size}' at 'maxResults' failed to satisfy constraint: Member must have value " in message


@pytest.mark.parametrize(
    ("sort_by", "ascending"),
    [
        ("Name", ["Zebra", "ant", "bee"]),
        ("CreationTime", ["bee", "Zebra", "ant"]),
        ("Status", ["ant", "bee", "Zebra"]),
    ],
)
def test_a_list_is_sorted_by_what_was_asked_for(sagemaker, sort_by, ascending):
    """Capitals before small letters; descending unless told otherwise, whatever is sorted by (inferred)."""
    sagemaker.keep(
        make_job("bee", at=NOW, status="Failed"),
        make_job("Zebra", at=NOW + 1),
        make_job("ant", at=NOW + 2, status="Completed"),
    )

    assert walk(sagemaker, SortBy=sort_by, SortOrder="Ascending", MaxResults=2) == [ascending[:2], ascending[2:]]
    assert walk(sagemaker, SortBy=sort_by, SortOrder="Descending") == [ascending[::-1]]
    assert walk(sagemaker, SortBy=sort_by) == [ascending[::-1]]


@pytest.mark.parametrize("member", ["SortBy", "SortOrder", "StatusEquals"])
def test_an_unknown_word_is_refused_with_the_known_ones(dozen, member):
    code, message = refusal(dozen, "ListTrainingJobs", **{member: "Sideways"})

    assert code == "ValidationException"
    where = member[0].lower() + member[1:]
    assert (
        f"Value 'Sideways' at '{where}' failed to satisfy constraint: Member must satisfy enum value set: [" in message
    )


# --- filters


def test_a_filter_on_the_status_does_not_leave_a_page_short(dozen):
    """SageMaker takes the page first and filters then; here a page is full while there are jobs for it."""
    assert walk(dozen, StatusEquals="Failed", MaxResults=3) == [["job-09", "job-06", "job-03"], ["job-00"]]


@pytest.mark.parametrize("status", ["Completed", "Stopping", "Stopped", "Deleting"])
def test_a_status_in_which_no_job_is_gives_an_empty_list(dozen, status):
    """`Deleting` is a status of the model; here a job is deleted in one step."""
    assert dozen("ListTrainingJobs", StatusEquals=status) == {"TrainingJobSummaries": []}


def test_a_name_contains_what_is_asked_for(sagemaker):
    """Letter case counts (inferred), and only what names are made of can be asked for."""
    sagemaker.keep(make_job("xgb-1"), make_job("my-xgb", at=NOW + 1), make_job("XGB", at=NOW + 2))

    assert names(sagemaker("ListTrainingJobs", NameContains="xgb")) == ["my-xgb", "xgb-1"]
    for bad in ("", "a_b", "a b", "x" * 64):
        code, message = refusal(sagemaker, "ListTrainingJobs", NameContains=bad)
        assert code == "ValidationException"
        assert "'nameContains' failed to satisfy constraint: " in message


@pytest.mark.parametrize("member", ["CreationTime", "LastModifiedTime"])
def test_time_bounds_are_exclusive(dozen, member):
    """To the millisecond."""
    fresh = "job-04"  # a job at work: created and modified at the same moment
    moment = NOW + 4000
    query = {"StatusEquals": "InProgress"}

    def listed(**bounds):
        found = walk(dozen, **query, **{member + side: value for side, value in bounds.items()})
        return fresh in [name for page in found for name in page]

    assert not listed(After=at(moment))
    assert listed(After=at(moment - 1))
    assert not listed(Before=at(moment))
    assert listed(Before=at(moment + 1))
    assert listed(After=at(moment - 1), Before=at(moment + 1))
    assert not listed(After=at(moment + 1), Before=at(moment - 1))


@pytest.mark.parametrize("moment", [1_700_000_002, 1_700_000_002.0, "2023-11-14T22:13:22Z"])
def test_a_time_may_be_any_json_number_or_a_text(dozen, moment):
    """Whole seconds from boto3, fractions and exponents from other SDKs."""
    assert names(dozen("ListTrainingJobs", CreationTimeBefore=moment)) == ["job-01", "job-00"]


@pytest.mark.parametrize("moment", [-1e30, 1e30, True, [], "soon"])
def test_what_is_no_time_is_refused(dozen, moment):
    code, _ = refusal(dozen, "ListTrainingJobs", CreationTimeAfter=moment)

    assert code == "SerializationException"


@pytest.mark.parametrize("moment", [-62135596800, 0, 253402300799])
def test_the_earliest_and_the_latest_time_are_times(dozen, moment):
    assert len(names(dozen("ListTrainingJobs", CreationTimeAfter=moment))) == (0 if moment > 2e9 else 10)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("WarmPoolStatusEquals", "Available"),
        ("TrainingPlanArnEquals", "arn:aws:sagemaker:us-east-1:000000000000:training-plan/plan"),
    ],
)
def test_a_filter_on_what_there_is_not_is_refused_by_name(dozen, member, value):
    code, message = refusal(dozen, "ListTrainingJobs", **{member: value})

    assert code == "ValidationException"
    assert message.startswith(f"The filter {member} is not supported: ")


# --- tokens


def test_jobs_that_come_and_go_between_two_pages_do_not_shift_the_list(dozen):
    first = dozen("ListTrainingJobs", MaxResults=5)
    dozen("CreateTrainingJob", **create_request("newest"))
    for n in (7, 6):  # the last of the page, which the token speaks of, and the first of the next
        job = dozen.run(dozen.store.get(f"job-{n:02}"))
        dozen.run(dozen.store.delete(job))

    second = dozen("ListTrainingJobs", MaxResults=5, NextToken=first["NextToken"])

    assert names(second) == ["job-05", "job-04", "job-03", "job-02", "job-01"]


def test_a_token_goes_on_at_another_page_size(dozen):
    first = dozen("ListTrainingJobs", MaxResults=2)

    assert len(names(dozen("ListTrainingJobs", MaxResults=100, NextToken=first["NextToken"]))) == 10


def test_a_token_may_be_used_twice(dozen):
    token = dozen("ListTrainingJobs", MaxResults=2)["NextToken"]

    assert dozen("ListTrainingJobs", NextToken=token) == dozen("ListTrainingJobs", NextToken=token)


@pytest.mark.parametrize(
    "other",
    [
        {"SortBy": "Name"},
        {"SortOrder": "Ascending"},
        {"NameContains": "job"},
        {"StatusEquals": "Failed"},
        {"CreationTimeAfter": 0},
    ],
)
def test_a_token_of_another_query_is_refused(dozen, other):
    token = dozen("ListTrainingJobs", MaxResults=2)["NextToken"]

    assert refusal(dozen, "ListTrainingJobs", NextToken=token, **other) == BAD_TOKEN


def test_a_token_that_was_tampered_with_is_refused(dozen):
    """Any character changed, cut or added; and what looks like a token of others."""
    token = dozen("ListTrainingJobs", MaxResults=2)["NextToken"]

    assert {
        refusal(dozen, "ListTrainingJobs", NextToken=each) for each in tampered(token, b'{"value": 0, "name": ""}')
    } == {BAD_TOKEN}


def test_an_empty_token_is_none(dozen):
    """SDKs that always send the member begin so."""
    assert dozen("ListTrainingJobs", NextToken="") == dozen("ListTrainingJobs")
