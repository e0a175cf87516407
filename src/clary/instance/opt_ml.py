"""The training program's /opt/ml: its directories, and the files of /opt/ml/input/config byte for byte in shape.

Called by `prepare`. Everything but `write` is pure. What the job reads in these files is all it is told of itself, so
names, order and spacing follow what was captured on SageMaker: compact JSON, one object a file, no newline at its end.

The directories are open to everybody, since an image's user need not be ours; whoever may not see them is kept out by
the instance's own directory, which is private.
"""

from pathlib import Path

import msgspec

from clary.jobs.task import InstanceTask

INPUT_DATA = Path("input/data")
MODEL = Path("model")
OUTPUT = Path("output")
OUTPUT_DATA = Path("output/data")
FAILURE = Path("output/failure")

_CONFIG = Path("input/config")
_OPEN_DIRECTORIES = (
    Path(),
    Path("input"),
    INPUT_DATA,
    MODEL,
    OUTPUT,
    OUTPUT_DATA,
    Path("output/metrics"),
    Path("output/metrics/sagemaker"),
    Path("output/profiler"),
)


def config_files(task: InstanceTask, network_interface: str) -> dict[str, bytes]:
    """The files of /opt/ml/input/config by name; `network_interface` is the one on which hosts reach each other."""
    files = {
        "hyperparameters.json": _json(task.hyper_parameters),
        "inputdataconfig.json": _json(_input_data_config(task)),
        "resourceconfig.json": _json(_resource_config(task, network_interface)),
        # The shape of an entry is inferred; without definitions the file holds [] (observed).
        "metric-definition-regex.json": _json([{"Name": d.name, "Regex": d.regex} for d in task.metric_definitions]),
        "upstreamoutputdataconfig.json": b"[]",  # in every capture
    }
    if task.checkpoint_config is not None:
        files["checkpointconfig.json"] = _json({"LocalPath": task.checkpoint_config.directory})  # no S3Uri (observed)
    return files


def write(opt_ml: Path, files: dict[str, bytes]) -> None:
    """Make the tree and its config files, as often as asked: what is there already is made right."""
    for relative in _OPEN_DIRECTORIES:
        _directory(opt_ml / relative, 0o777)
    _directory(opt_ml / _CONFIG, 0o755)
    for name, data in files.items():
        path = opt_ml / _CONFIG / name
        path.write_bytes(data)
        path.chmod(0o644)


def input_mode(task: InstanceTask, channel_input_mode: str | None) -> str:
    """A channel's effective mode (Source: API model, Channel.InputMode)."""
    return channel_input_mode or task.training_input_mode


def _input_data_config(task: InstanceTask) -> dict[str, dict[str, str]]:
    config: dict[str, dict[str, str]] = {}
    for channel in task.channels:
        entry = {} if channel.content_type is None else {"ContentType": channel.content_type}
        entry["TrainingInputMode"] = input_mode(task, channel.input_mode)
        distribution = None if channel.s3 is None else channel.s3.s3_data_distribution_type
        entry["S3DistributionType"] = distribution or "FullyReplicated"
        entry["RecordWrapperType"] = channel.record_wrapper_type or "None"
        config[channel.channel_name] = entry
    return config


def _resource_config(task: InstanceTask, network_interface: str) -> dict[str, object]:
    return {
        "current_host": task.host,
        "current_instance_type": task.instance_type,
        "current_group_name": task.group.instance_group_name,
        "hosts": sorted(task.hosts),  # as strings: algo-1, algo-10, algo-2 (observed)
        "instance_groups": [
            {
                "instance_group_name": group.instance_group_name,
                "instance_type": group.instance_type,
                "hosts": group.hosts,
            }
            for group in task.groups
        ],
        "network_interface_name": network_interface,
        "topology": None,
    }


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)


def _directory(path: Path, mode: int) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(mode)  # the mode that mkdir takes passes through the umask
