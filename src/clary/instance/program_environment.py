"""The environment of the training program. Pure; called by `run_training`.

Weakest first: what any image has, the image's own (a container engine brings both), the request's Environment, the
platform's. That the platform wins
over Environment is inferred. No credentials are among them: job code gets none.
"""

from clary.jobs.model import Program
from clary.jobs.task import InstanceTask

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program_environment(task: InstanceTask, network_interface: str) -> dict[str, str]:
    """All variables of the program. Source: environments seen in SageMaker's training containers."""
    platform = {
        "TRAINING_JOB_NAME": task.training_job_name,
        "TRAINING_JOB_ARN": task.training_job_arn,
        "AWS_REGION": task.region,
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "HOSTNAME": task.host,
        "DMLC_INTERFACE": network_interface,
        "NVIDIA_VISIBLE_DEVICES": "void",  # a runtime that passes some on takes it away
    }
    if task.enable_sage_maker_metrics_time_series:
        platform["SAGEMAKER_METRICS_DIRECTORY"] = "/opt/ml/output/metrics/sagemaker"  # made by `opt_ml`
    return _image(task.program) | task.environment | platform


def _image(program: Program) -> dict[str, str]:
    if program.reference is not None:
        return {}
    image = {"PATH": _SYSTEM_PATH, "HOME": "/root"} | program.environment
    image["PATH"] = ":".join((*program.search_path, image["PATH"]))
    return image
