"""The list of training jobs, and what it takes to find one in it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from clary.console import paths
from clary.console.contexts import Crumb, JobRow, JobsFilter, JobsPage
from clary.console.visit import BadAddress, NoSuchPage, Visit, instant, span_s
from clary.jobs.status import TrainingJobStatus

PAGE_JOBS = 25
POLL_S = 3
UNDER_WAY = frozenset({TrainingJobStatus.IN_PROGRESS, TrainingJobStatus.STOPPING})

_JOB_NAME = re.compile(r"[a-zA-Z0-9-]{1,63}", re.ASCII)

_EXAMPLE = """\
import boto3

boto3.client("s3").create_bucket(Bucket="first-bucket")
boto3.client("sagemaker").create_training_job(
    TrainingJobName="first-job",
    AlgorithmSpecification={{
        "TrainingImage": "clary/python",
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python3", "-c", "print('hello from a training job')"],
    }},
    RoleArn="arn:aws:iam::{account_id}:role/any",
    OutputDataConfig={{"S3OutputPath": "s3://first-bucket/out"}},
    ResourceConfig={{"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
    StoppingCondition={{"MaxRuntimeInSeconds": 600}},
)
"""


async def jobs_page(visit: Visit) -> JobsPage:
    """The page. Parameters: name, status, created_after, created_before (days), token (of the next page), deleted (a name)."""
    query = visit.query
    asked = {name: query.get(name, "").strip() for name in ("name", "status", "created_after", "created_before")}
    params: dict[str, Any] = {"MaxResults": PAGE_JOBS, "SortBy": "CreationTime", "SortOrder": "Descending"}
    if asked["name"]:
        params["NameContains"] = asked["name"]
    if asked["status"]:
        params["StatusEquals"] = asked["status"]
    if asked["created_after"]:
        params["CreationTimeAfter"] = _midnight(asked["created_after"]) - 0.001  # the bounds do not belong to it
    if asked["created_before"]:
        params["CreationTimeBefore"] = _midnight(asked["created_before"], days_later=1)
    token = query.get("token")
    answer = await visit.ask("sagemaker", "ListTrainingJobs", params | ({"NextToken": token} if token else {}))
    rows = tuple([await _row(visit, summary) for summary in answer["TrainingJobSummaries"]])
    following = answer.get("NextToken")
    is_empty = not rows and not following and not token and not any(asked.values())
    deleted = query.get("deleted", "")
    return JobsPage(
        page=visit.frame(
            "Training jobs",
            "jobs",
            (Crumb(label="Training jobs"),),
            notice=f"The training job {deleted} has been deleted." if _JOB_NAME.fullmatch(deleted) else None,
        ),
        filter=JobsFilter(
            action=paths.JOBS,
            clear_path=paths.JOBS,
            statuses=tuple(status.value for status in TrainingJobStatus),
            **asked,
        ),
        rows=rows,
        rows_path=paths.with_query(paths.JOBS, **asked, token=token, part="rows"),
        poll_s=POLL_S,
        next_path=paths.with_query(paths.JOBS, **asked, token=following) if following else None,
        first_path=paths.with_query(paths.JOBS, **asked) if token else None,
        example=_EXAMPLE.format(account_id=visit.account_id) if is_empty else None,
    )


async def _row(visit: Visit, summary: dict[str, Any]) -> JobRow:
    name, status = summary["TrainingJobName"], summary["TrainingJobStatus"]
    created = instant(summary["CreationTime"])
    end = instant(summary["TrainingEndTime"]) if "TrainingEndTime" in summary else None
    return JobRow(
        name=name,
        path=paths.job(name),
        status=status,
        secondary_status=summary["SecondaryStatus"],
        is_under_way=status in UNDER_WAY,
        creation_time=created,
        last_modified_time=instant(summary["LastModifiedTime"]),
        end_time=end,
        duration_s=span_s(created, end or visit.now),
        message=await _message(visit, name) if status in UNDER_WAY else None,
    )


async def _message(visit: Visit, name: str) -> str | None:
    try:
        description = await visit.describe_job(name)
    except NoSuchPage:
        return None  # deleted since it was listed
    return str(description["SecondaryStatusTransitions"][-1]["StatusMessage"])


def _midnight(day: str, *, days_later: int = 0) -> float:
    """When the day begins in UTC, in seconds."""
    try:
        return (datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days_later)).timestamp()
    except (ValueError, OverflowError):
        raise BadAddress(f"{day} is no day; days are written as 2026-01-31.") from None
