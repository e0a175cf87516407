"""Contexts of console pages as tests want them: whole, with texts that would do harm if a page did not escape them."""

from pathlib import Path

from clary.console import contexts

NOW = 1_782_907_205_123
BASE = "/_clary/console"
HOSTILE = "<script>alert('x')</script>\"'&"
STATIC = {path.name: f"{BASE}/static/{path.name}" for path in (Path(contexts.__file__).parent / "static").iterdir()}
PATH_OF = {
    "Completed": "Completed",
    "Failed": "Failed",
    "Stopped": "Stopped",
    "InProgress": "Training",
    "Stopping": "Stopping",
}


def frame(title, *crumbs, section="jobs", **changes):
    told = {
        "title": title,
        "section": section,
        "crumbs": (
            contexts.Crumb(label="Training jobs", path=f"{BASE}/jobs"),
            *(contexts.Crumb(label=crumb) for crumb in crumbs),
        ),
        "base_path": BASE,
        "static": STATIC,
        "now": NOW,
        "version": "0.1.0",
        "region": "us-east-1",
        "account_id": "000000000000",
        "user": "arn:aws:iam::000000000000:root",
        "csrf_token": "csrf-0",
        "json_path": f"{BASE}/page.json",
        "jobs_path": f"{BASE}/jobs",
        "algorithms_path": f"{BASE}/algorithms",
        "sign_out_path": f"{BASE}/sign-out",
    }
    return contexts.PageFrame(**told | changes)


def signed_out_frame(title):
    return frame(
        title,
        section="",
        crumbs=(),
        user="",
        csrf_token="",
        json_path=None,
        jobs_path="",
        algorithms_path="",
        sign_out_path="",
    )


def job_row(name, status="Completed", **changes):
    under_way = status in {"InProgress", "Stopping"}
    told = {
        "name": name,
        "path": f"{BASE}/jobs/{name}",
        "status": status,
        "secondary_status": PATH_OF[status],
        "is_under_way": under_way,
        "creation_time": NOW - 95_000,
        "last_modified_time": NOW - 5_000,
        "end_time": None if under_way else NOW - 5_000,
        "duration_s": 90.0,
        "message": "Training image download completed. Training in progress." if under_way else None,
    }
    return contexts.JobRow(**told | changes)


def jobs_page(*rows, asked=None, **changes):
    told = {
        "page": frame("Training jobs", crumbs=(contexts.Crumb(label="Training jobs"),)),
        "filter": contexts.JobsFilter(
            action=f"{BASE}/jobs",
            clear_path=f"{BASE}/jobs",
            statuses=("InProgress", "Completed", "Failed", "Stopping", "Stopped"),
            **asked or {},
        ),
        "rows": rows,
        "rows_path": f"{BASE}/jobs/rows",
        "poll_s": 2,
        "next_path": None,
        "first_path": None,
        "example": None,
    }
    return contexts.JobsPage(**told | changes)


def job_head(name="linear-2026", status="Completed", current="Details", **changes):
    path = f"{BASE}/jobs/{name}"
    under_way = status in {"InProgress", "Stopping"}
    told = {
        "name": name,
        "arn": f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{name}",
        "path": path,
        "status": status,
        "secondary_status": PATH_OF[status],
        "status_message": "Training job completed",
        "is_under_way": under_way,
        "creation_time": NOW - 95_000,
        "last_modified_time": NOW - 5_000,
        "tabs": tuple(
            contexts.Tab(label=label, path=path + end, is_current=label == current)
            for label, end in (("Details", ""), ("Logs", "/logs"), ("Metrics", "/metrics"))
        ),
        "stop_path": f"{path}/stop" if status == "InProgress" else None,
        "delete_path": None if under_way else f"{path}/delete",
        "live_path": f"{path}/live",
    }
    return contexts.JobHead(**told | changes)


def steps(*spans, ahead=(), last):
    """Steps by name and seconds; the last of `spans` is in the state `last`."""
    made, start = [], NOW - 95_000
    for place, (status, seconds) in enumerate(spans):
        state = last if place == len(spans) - 1 else "done"
        made.append(contexts.Step(status=status, state=state, start_time=start, duration_s=seconds))
        start += int(seconds * 1000)
    return (*made, *(contexts.Step(status=status, state="ahead", start_time=None, duration_s=None) for status in ahead))


def stay(status, start_s, end_s, message):
    start, end = NOW - 95_000 + start_s * 1000, None if end_s is None else NOW - 95_000 + end_s * 1000
    duration_s = ((NOW if end is None else end) - start) / 1000
    return contexts.Stay(status=status, start_time=start, end_time=end, duration_s=duration_s, message=message)


COMPLETED = {
    "steps": steps(
        ("Starting", 0.4),
        ("Downloading", 12.2),
        ("Training", 71.0),
        ("Uploading", 6.4),
        ("Completed", 0.0),
        last="completed",
    ),
    "history": (
        stay("Starting", 0, 1, "Preparing the instances for training"),
        stay("Downloading", 1, 13, "Downloading input data"),
        stay("Training", 13, 84, "Training image download completed. Training in progress."),
        stay("Uploading", 84, 90, "Uploading generated training model"),
        stay("Completed", 90, 90, "Training job completed"),
    ),
}
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


def channel(name, **changes):
    told = dict.fromkeys(contexts.Channel.__struct_fields__) | {
        "name": name,
        "source": "S3",
        "input_mode": "File",
        "s3_uri": f"s3://datasets/boston/{name}/",
        "s3_data_type": "S3Prefix",
        "s3_distribution": "FullyReplicated",
        "attribute_names": (),
        "instance_group_names": (),
        "content_type": "text/csv",
        "compression_type": "None",
        "record_wrapper_type": "None",
    }
    return contexts.Channel(**told | changes)


def algorithm(**changes):
    told = {
        "training_image": IMAGE,
        "algorithm_name": None,
        "algorithm_path": None,
        "runs": "local environment",
        "image_reference": None,
        "image_digest": None,
        "training_input_mode": "File",
        "container_entrypoint": (),
        "container_arguments": (),
        "repository_access_mode": None,
        "metric_definitions": (
            contexts.MetricDefinition(
                name="train:rmse", regex=r".*\[[0-9]+\].*#011train-rmse:([-+]?[0-9]*\.?[0-9]+).*"
            ),
            contexts.MetricDefinition(name="validation:rmse", regex=r".*#011validation-rmse:([-+]?[0-9]*\.?[0-9]+).*"),
        ),
    }
    return contexts.JobAlgorithm(**told | changes)


def job_page(name="linear-2026", status="Completed", *, head=None, **changes):
    under_way = status in {"InProgress", "Stopping"}
    path = f"{BASE}/jobs/{name}"
    told = {
        "page": frame(name, name),
        "head": job_head(name, status, **head or {}),
        "live_path": f"{path}/live",
        "poll_s": 2 if under_way else None,
        "duration_s": 90.0,
        "training_start_time": NOW - 82_000,
        "training_end_time": None if under_way else NOW - 5_000,
        "training_time_s": None if under_way else 77,
        "failure_reason": None,
        "downloads": (),
        "final_metrics": (
            contexts.FinalMetric(name="train:rmse", value=1.2034567891, timestamp=NOW - 12_000),
            contexts.FinalMetric(name="validation:rmse", value=2.5, timestamp=NOW - 12_000),
        ),
        "role_arn": "arn:aws:iam::000000000000:role/SageMakerRole",
        "algorithm": algorithm(),
        "hyper_parameters": (
            contexts.Pair(name="max_depth", value="5"),
            contexts.Pair(name="eta", value="0.2"),
            contexts.Pair(name="objective", value="reg:squarederror"),
            contexts.Pair(name="num_round", value="100"),
        ),
        "channels": (channel("train"), channel("validation")),
        "instance_groups": (contexts.InstanceGroup(name=None, instance_type="ml.m5.large", instance_count=2),),
        "volume_size_in_gb": 30,
        "max_runtime_s": 3600,
        "maximum_retry_attempts": None,
        "enable_network_isolation": False,
        "enable_inter_container_traffic_encryption": False,
        "checkpoint": contexts.Checkpoint(s3_uri="s3://models/checkpoints/linear", local_path="/opt/ml/checkpoints"),
        "output": contexts.Output(
            s3_output_path="s3://models/out",
            compression_type="GZIP",
            kms_key_id=None,
            s3_model_artifacts=None if under_way else f"s3://models/out/{name}/output/model.tar.gz",
        ),
        "environment": (contexts.Pair(name="OMP_NUM_THREADS", value="2"),),
        "tags": (contexts.Pair(name="team", value="pricing"), contexts.Pair(name="cost-centre", value="4711")),
        "recorded_members": (
            contexts.RecordedMember(
                member="RoleArn",
                why="Roles are not checked and give no credentials yet; the job's own S3 access is limited anyway.",
            ),
            contexts.RecordedMember(
                member="ProfilerConfig", why="The SageMaker SDK always sends it; there is no profiler."
            ),
        ),
        "raw": {"TrainingJobName": name, "TrainingJobStatus": status, "CreationTime": (NOW - 95_000) / 1000},
    }
    return contexts.JobPage(**told | COMPLETED | changes)


def downloading_page(name="wide-2026"):
    return job_page(
        name,
        "InProgress",
        head={
            "secondary_status": "Downloading",
            "status_message": "Downloading input data: train, 812 of 20000 objects",
        },
        steps=steps(
            ("Starting", 0.4), ("Downloading", 94.6), ahead=("Training", "Uploading", "Completed"), last="current"
        ),
        history=(
            stay("Starting", 0, 1, "Preparing the instances for training"),
            stay("Downloading", 1, None, "Downloading input data: train, 812 of 20000 objects"),
        ),
        downloads=tuple(
            contexts.Download(
                host=host,
                channel_name="train",
                objects_done=812,
                objects_total=20_000,
                bytes_done=done,
                bytes_total=24_000_000_000,
                percent=done / 240_000_000,
                bytes_per_second=231_000_000.0,
                remaining_s=73.2,
            )
            for host, done in (("algo-1", 8_200_000_000), ("algo-2", 7_900_000_000))
        ),
        final_metrics=(),
        training_start_time=NOW - 94_000,
    )


def failed_page(name="broken-2026", reason="AlgorithmError: , exit code: 1\nTraceback: ValueError: no column 'price'"):
    return job_page(
        name,
        "Failed",
        head={"status_message": "Training job failed"},
        failure_reason=reason,
        steps=steps(("Starting", 0.4), ("Downloading", 12.2), ("Training", 3.0), ("Failed", 0.0), last="failed"),
        history=(
            stay("Starting", 0, 1, "Preparing the instances for training"),
            stay("Downloading", 1, 13, "Downloading input data"),
            stay("Training", 13, 16, "Training image download completed. Training in progress."),
            stay("Failed", 16, 16, "Training job failed"),
        ),
        final_metrics=(),
    )


def log_lines(count=60, **changes):
    told = {
        "lines": tuple(
            contexts.LogLine(
                timestamp=NOW + n * 37,
                message=f"[{n}]#011train-rmse:{9 / (n + 1):.5f}#011validation-rmse:{10 / (n + 1):.5f}",
            )
            for n in range(count)
        ),
        "timestamps": True,
    }
    return contexts.LogLines(**told | changes)


def logs_page(name="linear-2026", status="InProgress", **changes):
    path = f"{BASE}/jobs/{name}/logs"
    streams = tuple(
        contexts.LogStream(
            name=f"{name}/{host}-1782907",
            host=host,
            path=f"{path}?stream={host}",
            is_current=host == "algo-1",
            first_event_time=NOW,
            last_event_time=NOW + 5000,
        )
        for host in ("algo-1", "algo-2")
    )
    told = {
        "page": frame(f"Log of {name}", name, "Logs"),
        "head": job_head(name, status, "Logs"),
        "streams": streams,
        "stream": streams[0].name,
        "action": path,
        "filter": "",
        "timestamps": True,
        "lines": log_lines(
            follow_path=f"{path}/follow", poll_s=2, earlier_path=f"{path}/earlier", before_path=f"{path}/earlier"
        ),
        "download_path": f"{path}/download",
        "timestamps_path": f"{path}?timestamps=0",
        "clear_path": path,
        "wait_path": None,
        "poll_s": 2,
    }
    return contexts.LogsPage(**told | changes)


def chart(number, name, kind="training", unit="None", labels=None, value=lambda n, _: 9 / (n + 1)):
    return contexts.Chart(
        id=f"metric-{number}",
        name=name,
        kind=kind,
        unit=unit,
        period_s=1,
        series=tuple(
            contexts.Series(
                label=label,
                times=tuple(NOW + n * 1000 for n in range(80)),
                values=tuple(value(n, place) for n in range(80)),
            )
            for place, label in enumerate(labels or (name,))
        ),
    )


def metrics_page(name="linear-2026", status="InProgress", charts=None, **changes):
    hosts = ("algo-1", "algo-2")
    told = {
        "page": frame(f"Metrics of {name}", name, "Metrics"),
        "head": job_head(name, status, "Metrics"),
        "charts": (
            chart(0, "train:rmse"),
            chart(1, "validation:rmse", value=lambda n, _: 10 / (n + 1) + n / 200),
            chart(2, "CPUUtilization", "instance", "Percent", hosts, lambda n, place: 140 + (n * (7 + place)) % 60),
            chart(3, "MemoryUtilization", "instance", "Percent", hosts, lambda n, place: 20 + n / 8 + 5 * place),
        )
        if charts is None
        else charts,
        "data_path": f"{BASE}/jobs/{name}/metrics.json",
        "poll_s": 2,
    }
    return contexts.MetricsPage(**told | changes)


def algorithms_page(*names, **changes):
    told = {
        "page": frame("Algorithms", section="algorithms", crumbs=(contexts.Crumb(label="Algorithms"),)),
        "action": f"{BASE}/algorithms",
        "name": "",
        "clear_path": f"{BASE}/algorithms",
        "rows": tuple(
            contexts.AlgorithmRow(
                name=name,
                path=f"{BASE}/algorithms/{name}",
                status="Completed",
                description="Boosted trees",
                creation_time=NOW,
            )
            for name in names
        ),
        "next_path": None,
        "first_path": None,
    }
    return contexts.AlgorithmsPage(**told | changes)


def algorithm_page(name="boosted-trees", **changes):
    told = {
        "page": frame(name, name, section="algorithms"),
        "name": name,
        "arn": f"arn:aws:sagemaker:us-east-1:000000000000:algorithm/{name}",
        "status": "Completed",
        "description": "Boosted trees over tables",
        "creation_time": NOW,
        "training_image": IMAGE,
        "training_image_digest": None,
        "supports_distributed_training": True,
        "instance_types": ("ml.m5.large", "ml.m5.xlarge"),
        "metric_definitions": algorithm().metric_definitions,
        "hyper_parameters": (
            contexts.HyperParameterDefinition(
                name="max_depth",
                type="Integer",
                description="How deep a tree may be",
                range="1 to 20",
                default_value="6",
                is_required=False,
                is_tunable=True,
            ),
        ),
        "channels": (
            contexts.ChannelDefinition(
                name="train",
                description="Rows to learn from",
                is_required=True,
                content_types=("text/csv", "text/libsvm"),
                compression_types=("None",),
                input_modes=("File", "Pipe"),
            ),
        ),
        "tags": (contexts.Pair(name="team", value="pricing"),),
        "raw": {"AlgorithmName": name},
    }
    return contexts.AlgorithmPage(**told | changes)


def delete_page(name="linear-2026"):
    path = f"{BASE}/jobs/{name}"
    return contexts.JobDeletePage(
        page=frame(f"Delete {name}", name), head=job_head(name), delete_path=f"{path}/delete", cancel_path=path
    )


def signed_out_page(reason="", retry_path=None):
    return contexts.SignedOutPage(
        page=signed_out_frame("Sign in"), reason=reason, command="clary open", retry_path=retry_path
    )


def problem_page(message="There is no training job of that name."):
    return contexts.ProblemPage(
        page=frame("Not found", crumbs=()),
        http_status=404,
        heading="Not found",
        message=message,
        back_path=f"{BASE}/jobs",
    )


EXAMPLE = """import boto3

boto3.client("sagemaker").create_training_job(
    TrainingJobName="first",
    RoleArn="arn:aws:iam::000000000000:role/any",
)"""
EVERY_PAGE = {
    "jobs": (
        "jobs.html",
        lambda: jobs_page(
            job_row("linear-2026"),
            *(job_row(f"job-{status.lower()}", status) for status in PATH_OF),
            next_path=f"{BASE}/jobs?next=1",
        ),
    ),
    "jobs-empty": ("jobs.html", lambda: jobs_page(example=EXAMPLE)),
    "jobs-none": ("jobs.html", lambda: jobs_page(asked={"name": "zzz"})),
    "jobs-rows": ("jobs_rows.html", lambda: jobs_page(job_row("linear-2026"))),
    "job": ("job.html", job_page),
    "job-downloading": ("job.html", downloading_page),
    "job-failed": ("job.html", failed_page),
    "job-live": ("job_live.html", downloading_page),
    "logs": ("job_logs.html", logs_page),
    "logs-none": (
        "job_logs.html",
        lambda: logs_page(stream=None, streams=(), lines=log_lines(0), download_path=None, wait_path=f"{BASE}/wait"),
    ),
    "logs-lines": ("job_log_lines.html", lambda: log_lines(3)),
    "metrics": ("job_metrics.html", metrics_page),
    "metrics-none": ("job_metrics.html", lambda: metrics_page(charts=())),
    "delete": ("job_delete.html", delete_page),
    "algorithms": ("algorithms.html", lambda: algorithms_page("boosted-trees", "linear-learner")),
    "algorithms-none": ("algorithms.html", algorithms_page),
    "algorithm": ("algorithm.html", algorithm_page),
    "signed-out": ("signed_out.html", lambda: signed_out_page("The session has ended.", f"{BASE}/jobs")),
    "problem": ("problem.html", problem_page),
}
"""Each page, and each part of one that is asked for by itself, by a name: its template and how its context is made."""
