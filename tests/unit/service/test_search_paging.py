"""NextToken of Search: what it is good for, and what it is not."""

import msgspec
import pytest

from factories import NOW, make_job
from sagemaker_api import SageMaker, refusal, tampered

BAD_TOKEN = ("ValidationException", "The NextToken is not valid for this request.")
STATUS = {"Filters": [{"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "InProgress"}]}


@pytest.fixture
def dozen():
    """Twelve jobs, modified one after the other."""
    sagemaker = SageMaker()
    jobs = (msgspec.structs.replace(make_job(f"job-{n:02}"), last_modified_time=NOW + n) for n in range(12))
    sagemaker.keep(*jobs)
    return sagemaker


def search(sagemaker, **members):
    return sagemaker("Search", Resource="TrainingJob", **members)


def refused(sagemaker, **members):
    return refusal(sagemaker, "Search", Resource="TrainingJob", **members)


def names(answer):
    return [result["TrainingJob"]["TrainingJobName"] for result in answer["Results"]]


def test_a_token_leads_through_all_results_at_any_page_size(dozen):
    """Also where the defaults of the first page are said on the second."""
    first = search(dozen, MaxResults=2)
    second = search(
        dozen, MaxResults=4, NextToken=first["NextToken"], SortBy="LastModifiedTime", SortOrder="Descending"
    )
    third = search(dozen, MaxResults=100, NextToken=second["NextToken"])

    assert [*names(first), *names(second), *names(third)] == [f"job-{n:02}" for n in reversed(range(12))]
    assert "NextToken" not in third


@pytest.mark.parametrize(
    "other",
    [
        {"SortBy": "CreationTime"},
        {"SortOrder": "Ascending"},
        {"SearchExpression": {"Filters": [{"Name": "TrainingJobName", "Operator": "Contains", "Value": "job"}]}},
        {"SearchExpression": {"Filters": [STATUS["Filters"][0] | {"Value": "Failed"}]}},
        {"SearchExpression": {"Filters": [STATUS["Filters"][0] | {"Operator": "NotEquals"}]}},
        {"SearchExpression": {"SubExpressions": [STATUS, {"Filters": [{"Name": "TrainingJobName"}]}]}},
    ],
)
@pytest.mark.parametrize("query", [{}, {"SearchExpression": STATUS}])
def test_a_token_of_another_query_is_refused(dozen, query, other):
    """Of other filters, another property to sort by, another order."""
    token = search(dozen, MaxResults=2, **query)["NextToken"]

    assert len(names(search(dozen, NextToken=token, **query))) == 10
    assert refused(dozen, NextToken=token, **query | other) == BAD_TOKEN


def test_a_token_of_another_operation_is_refused(dozen):
    """In both directions."""
    listed = dozen("ListTrainingJobs", MaxResults=2)["NextToken"]
    searched = search(dozen, MaxResults=2)["NextToken"]

    assert refused(dozen, NextToken=listed) == BAD_TOKEN
    assert refusal(dozen, "ListTrainingJobs", NextToken=searched) == BAD_TOKEN


def test_a_token_that_was_tampered_with_is_refused(dozen):
    """Any character changed, cut or added; and what looks like a token of others."""
    token = search(dozen, MaxResults=2)["NextToken"]

    assert {refused(dozen, NextToken=each) for each in tampered(token, b'{"cursor": {}, "hits": 0}')} == {BAD_TOKEN}
