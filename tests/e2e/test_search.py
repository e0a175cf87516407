"""Search and GetSearchSuggestions through unmodified boto3 clients."""

import pytest
from botocore.exceptions import ClientError

from server import new_name

pytest_plugins = ["server"]

PROGRAM = """
import json
rate = json.load(open("/opt/ml/input/config/hyperparameters.json"))["rate"]
print(f"accuracy={rate}")
"""


@pytest.fixture(scope="module")
def jobs(server):
    """Three jobs that ran, with a tag of their own, and the tag's value."""
    bucket, project = server.bucket(), new_name("project")
    sagemaker = server.client("sagemaker")
    names = []
    for n, rate in enumerate(("0.1", "0.25", "0.5")):
        names.append(new_name(f"search-{n}"))
        request = server.job(
            names[-1],
            bucket,
            program=PROGRAM,
            HyperParameters={"rate": rate, "kind": "adam"},
            Tags=[{"Key": "project", "Value": project}, {"Key": "n", "Value": str(n)}],
        )
        request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "accuracy", "Regex": "accuracy=([0-9.]+)"}]
        sagemaker.create_training_job(**request)
    for name in names:
        assert server.end(name)["TrainingJobStatus"] == "Completed"
    return names, project


def filter_(name, operator, value):
    return {"Name": name, "Operator": operator, "Value": value}


@pytest.fixture
def find(server, jobs):
    """Names that a search finds among the jobs, by the unmodified paginator."""
    _, project = jobs
    paginator = server.client("sagemaker").get_paginator("search")

    def find(*filters, page_size=2, **more):
        expression = {"Filters": [filter_("Tags.project", "Equals", project), *filters], **more.pop("expression", {})}
        pages = paginator.paginate(
            Resource="TrainingJob",
            SearchExpression=expression,
            PaginationConfig={"PageSize": page_size},
            **more,
        )
        return [result["TrainingJob"]["TrainingJobName"] for page in pages for result in page["Results"]]

    return find


def test_a_record_is_the_description_with_the_tags(server, jobs):
    """And without what a TrainingJob record has not."""
    names, project = jobs
    sagemaker = server.client("sagemaker")
    answer = sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={"Filters": [filter_("TrainingJobName", "Equals", names[1])]},
    )
    assert answer["TotalHits"] == {"Value": 1, "Relation": "EqualTo"}
    (result,) = answer["Results"]
    record = result["TrainingJob"]
    tags = record.pop("Tags")
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"project": project, "n": "1"}
    description = sagemaker.describe_training_job(TrainingJobName=names[1])
    modelled = sagemaker.meta.service_model.shape_for("TrainingJob").members
    assert record == {name: value for name, value in description.items() if name in modelled}


def test_jobs_are_found_by_what_they_are(find, jobs):
    """Names, hyperparameters, metrics, statuses, times, members of lists."""
    names, _ = jobs
    first, second, third = names
    assert sorted(find()) == sorted(names)
    assert find(filter_("TrainingJobName", "Contains", second[3:])) == [second]
    assert find(filter_("TrainingJobName", "In", f"{first},nobody")) == [first]
    assert find(filter_("HyperParameters.rate", "GreaterThan", "0.3")) == [third]
    assert find(filter_("HyperParameters.rate", "Equals", "0.10")) == [first]
    assert find(filter_("Metrics.accuracy", "LessThan", "0.2")) == [first]
    assert find(filter_("Tags.n", "NotEquals", "1"), SortBy="Tags.n", SortOrder="Ascending") == [first, third]
    assert len(find(filter_("TrainingJobStatus", "Equals", "Completed"))) == 3
    assert len(find(filter_("CreationTime", "GreaterThan", "2020-01-01T00:00:00"))) == 3
    assert len(find(filter_("InputDataConfig.ChannelName", "Equals", "code"))) == 3
    assert find({"Name": "FailureReason", "Operator": "Exists"}) == []
    nested = {
        "NestedPropertyName": "InputDataConfig",
        "Filters": [filter_("InputDataConfig.ChannelName", "Equals", "other")],
    }
    assert find(expression={"NestedFilters": [nested]}) == []


def test_results_are_sorted_as_asked(find, jobs):
    """By a metric, by a time, by any other property."""
    names, _ = jobs
    assert find(SortBy="Metrics.accuracy") == names[::-1]
    assert find(SortBy="Metrics.accuracy", SortOrder="Ascending", page_size=1) == names
    assert find(SortBy="CreationTime", SortOrder="Ascending") == names
    assert find(SortBy="TrainingJobArn", SortOrder="Ascending") == names
    assert sorted(find()) == names


def test_names_are_suggested(server, jobs):
    """Those that begin with the hint."""
    names = [
        suggestion["PropertyName"]
        for suggestion in server.client("sagemaker").get_search_suggestions(
            Resource="TrainingJob",
            SuggestionQuery={"PropertyNameQuery": {"PropertyNameHint": "HyperParameters."}},
        )["PropertyNameSuggestions"]
    ]
    assert names == sorted(names)
    assert {"HyperParameters.rate", "HyperParameters.kind"} <= set(names)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"Resource": "Experiment"}, "Experiment"),
        ({"Resource": "TrainingJob", "CrossAccountFilterOption": "CrossAccount"}, "CrossAccountFilterOption"),
        (
            {"Resource": "TrainingJob", "VisibilityConditions": [{"Key": "Tags.a", "Value": "b"}]},
            "VisibilityConditions",
        ),
        ({"Resource": "TrainingJob", "SearchExpression": {}}, "at least one"),
        ({"Resource": "TrainingJob", "SortBy": "Nothing"}, "Nothing"),
        ({"Resource": "TrainingJob", "SortBy": "ResourceConfig"}, "ResourceConfig"),
        ({"Resource": "TrainingJob", "NextToken": "made-up"}, "NextToken"),
        (
            {
                "Resource": "TrainingJob",
                "SearchExpression": {"Filters": [filter_("TrainingJobName", "Contains", "a")] * 2},
            },
            "'CONTAINS' operator usage limit of 1 exceeded.",
        ),
    ],
)
def test_what_is_not_offered_is_refused_by_name(server, request_, message):
    with pytest.raises(ClientError) as refusal:
        server.client("sagemaker").search(**request_)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"
    assert message in refusal.value.response["Error"]["Message"]
