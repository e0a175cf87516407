"""The environment of the training program. Pure; called by `run_training`.

Weakest first: what any image has, the image's own, the request's Environment, the platform's. That the platform wins
over Environment is inferred. No credentials are among them: job code gets none.
"""

from clary.jobs.task import InstanceTask

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program_environment(task: InstanceTask, network_interface: str) -> dict[str, str]:
    """All variables of the program. Source: environments seen in SageMaker's training containers."""
    image = {"PATH": _SYSTEM_PATH, "HOME": "/root"} | task.program.environment
    image["PATH"] = ":".join((*task.program.search_path, image["PATH"]))
    platform = {
        "TRAINING_JOB_NAME": task.training_job_name,
        "TRAINING_JOB_ARN": task.training_job_arn,
        "AWS_REGION": task.region,
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "HOSTNAME": task.host,
        "DMLC_INTERFACE": network_interface,
        "NVIDIA_VISIBLE_DEVICES": "void",  # no accelerator is passed on
    }
    if task.enable_sage_maker_metrics_time_series:
        platform["SAGEMAKER_METRICS_DIRECTORY"] = "/opt/ml/output/metrics/sagemaker"  # made by `opt_ml`
    return image | task.environment | platform
