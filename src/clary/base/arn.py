"""Amazon Resource Names. Source: SageMaker's ARNs; the job name stands in lower case there, as observed."""


def training_job_arn(region: str, account_id: str, training_job_name: str) -> str:
    """The ARN of a training job."""
    return f"arn:{partition(region)}:sagemaker:{region}:{account_id}:training-job/{training_job_name.lower()}"


def algorithm_arn(region: str, account_id: str, algorithm_name: str) -> str:
    """The ARN of an algorithm; its name stands in lower case, as that of a training job (inferred)."""
    return f"arn:{partition(region)}:sagemaker:{region}:{account_id}:algorithm/{algorithm_name.lower()}"


def log_group_arn(region: str, account_id: str, log_group: str) -> str:
    """The ARN of a log group, without the ":*" that some answers append."""
    return f"arn:{partition(region)}:logs:{region}:{account_id}:log-group:{log_group}"


def kms_alias_arn(region: str, account_id: str, alias: str) -> str:
    """The ARN of a KMS key by its alias ("alias/…")."""
    return f"arn:{partition(region)}:kms:{region}:{account_id}:{alias}"


def kms_key_arn(region: str, account_id: str, key_id: str) -> str:
    """The ARN of a KMS key by its id."""
    return f"arn:{partition(region)}:kms:{region}:{account_id}:key/{key_id}"


def partition(region: str) -> str:
    """The partition of a region: "aws" unless it is one of the separate ones."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
