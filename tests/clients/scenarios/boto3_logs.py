"""A job's log: groups, streams, a filter, and pages that go on while the job does."""

import boto3
from common import found, reach, simple_request, told

GROUP = "/aws/sagemaker/TrainingJobs"
ARGUMENTS = told()
NAME = ARGUMENTS["name"]
sagemaker, logs = boto3.client("sagemaker"), boto3.client("logs")

sagemaker.create_training_job(**simple_request(ARGUMENTS, HyperParameters={"epochs": "5"}))
reach(sagemaker, NAME, "Completed", "Failed")
groups = logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/")["logGroups"]
filtered = [
    event
    for page in logs.get_paginator("filter_log_events").paginate(
        logGroupName=GROUP,
        logStreamNamePrefix=f"{NAME}/",
        filterPattern='"loss"',
        PaginationConfig={"PageSize": 2},
    )
    for event in page["events"]
]
missing = ""
try:
    logs.describe_log_streams(logGroupName="/none")
except logs.exceptions.ResourceNotFoundException as error:
    missing = error.response["Error"]["Message"]
found(
    groups=[group["logGroupName"] for group in groups],
    filtered=[event["message"] for event in filtered],
    ids=len({event["eventId"] for event in filtered}),
    missing=missing,
)
