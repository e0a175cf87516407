"""SageMakerHook of Airflow: create and wait, create and print the log, a job that fails, list, and a stop."""

import logging
import sys

from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from common import found, simple_request, told

logging.basicConfig(level=logging.INFO, stream=sys.stdout)
ARGUMENTS = told()
NAME, BUCKET = ARGUMENTS["name"], ARGUMENTS["bucket"]
hook = SageMakerHook(aws_conn_id=None)
hook.s3_hook.get_conn().put_object(Bucket=BUCKET, Key="af/train/a.csv", Body=b"1,2\n")
source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/af/train/"}}
request = simple_request(
    ARGUMENTS, InputDataConfig=[{"ChannelName": "train", "DataSource": source}], HyperParameters={"epochs": "3"}
)

waited = hook.create_training_job(request, wait_for_completion=True, print_log=False, check_interval=1)
logged = hook.create_training_job(
    request | {"TrainingJobName": f"{NAME}-log"}, wait_for_completion=True, print_log=True, check_interval=1
)
failure = ""
try:
    hook.create_training_job(
        request | {"TrainingJobName": f"{NAME}-fails", "HyperParameters": {"fail": "no rows"}},
        wait_for_completion=True,
        print_log=False,
        check_interval=1,
    )
except Exception as error:
    failure = f"{type(error).__name__}: {error}"
found(
    answered=[answer["ResponseMetadata"]["HTTPStatusCode"] for answer in (waited, logged)],
    status=hook.describe_training_job(NAME)["TrainingJobStatus"],
    failure=failure,
    listed=[job["TrainingJobName"] for job in hook.list_training_jobs(name_contains=NAME, max_results=2)],
)
