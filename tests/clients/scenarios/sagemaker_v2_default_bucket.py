"""A bucket of the SDK's own choice, and the role that the session is: both ask STS over HTTPS, at a fixed host name."""

from pathlib import Path

import boto3
import sagemaker
from common import ROLE, found
from sagemaker.session import Session

session = Session()
bucket = session.default_bucket()
Path("a.csv").write_text("1,2\n")
assumed = boto3.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="notebook")["Credentials"]
as_role = Session(
    boto_session=boto3.Session(
        aws_access_key_id=assumed["AccessKeyId"],
        aws_secret_access_key=assumed["SecretAccessKey"],
        aws_session_token=assumed["SessionToken"],
    )
)
found(
    bucket=bucket,
    uploaded=session.upload_data("a.csv", key_prefix="d"),
    again=Session().default_bucket(),
    account=session.account_id(),
    role=sagemaker.get_execution_role(as_role),
)
