"""A job from create to the end, its logs and its lists; a job that fails, one that is stopped, and what is refused."""

import boto3
from botocore.exceptions import ClientError
from common import found, reach, see_begin, simple_request, told

GROUP = "/aws/sagemaker/TrainingJobs"
ARGUMENTS = told()
NAME, BUCKET = ARGUMENTS["name"], ARGUMENTS["bucket"]
sagemaker, logs = boto3.client("sagemaker"), boto3.client("logs")


def create(name, **hyperparameters):
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}}
    request = simple_request(
        ARGUMENTS,
        TrainingJobName=name,
        HyperParameters=hyperparameters,
        InputDataConfig=[{"ChannelName": "train", "DataSource": source}],
    )
    return sagemaker.create_training_job(**request)["TrainingJobArn"]


def refusal(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return [type(error).__name__, error.response["Error"]["Code"], error.response["Error"]["Message"]]
    return None


boto3.client("s3").put_object(Bucket=BUCKET, Key="in/a.csv", Body=b"1,2\n")
arn = create(NAME, epochs="3")
end = reach(sagemaker, NAME, "Completed", "Failed")
sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=NAME)
streams = [
    stream["logStreamName"]
    for page in logs.get_paginator("describe_log_streams").paginate(
        logGroupName=GROUP, logStreamNamePrefix=f"{NAME}/", orderBy="LogStreamName"
    )
    for stream in page["logStreams"]
]
page = logs.get_log_events(logGroupName=GROUP, logStreamName=streams[0], startFromHead=True)
again = logs.get_log_events(
    logGroupName=GROUP, logStreamName=streams[0], startFromHead=True, nextToken=page["nextForwardToken"]
)

create(f"{NAME}-fails", fail="bad data")
failed = reach(sagemaker, f"{NAME}-fails", "Failed", "Completed")
create(f"{NAME}-stops", run_for="600")
see_begin(logs, f"{NAME}-stops")
sagemaker.stop_training_job(TrainingJobName=f"{NAME}-stops")
stopped = reach(sagemaker, f"{NAME}-stops", "Stopped", "Failed", "Completed")

listed = [
    summary["TrainingJobName"]
    for page_ in sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=NAME, SortBy="CreationTime", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    for summary in page_["TrainingJobSummaries"]
]
found(
    arn=arn,
    status=end["TrainingJobStatus"],
    model=end["ModelArtifacts"]["S3ModelArtifacts"],
    times=[isinstance(end[name], type(end["CreationTime"])) for name in ("TrainingStartTime", "TrainingEndTime")],
    metrics={metric["MetricName"]: metric["Value"] for metric in end["FinalMetricDataList"]},
    streams=streams,
    lines=[event["message"] for event in page["events"]],
    after_the_end=[again["events"], again["nextForwardToken"] == page["nextForwardToken"]],
    failure=failed["FailureReason"],
    stopped=stopped["TrainingJobStatus"],
    listed=listed,
    taken=refusal(create, name=NAME),
    missing=refusal(sagemaker.describe_training_job, TrainingJobName=f"{NAME}-none"),
    too_late=refusal(sagemaker.stop_training_job, TrainingJobName=NAME),
    typed=isinstance(sagemaker.exceptions.ResourceInUse({}, ""), ClientError),
)
