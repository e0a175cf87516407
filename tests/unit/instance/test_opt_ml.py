"""What the job finds below /opt/ml before its program starts."""

import json
import stat

from clary.instance import opt_ml
from clary.jobs.model import DataSource, MetricDefinition, S3DataSource
from clary.jobs.task import HostGroup
from factories import make_channel
from unit.instance.scenes import make_task


def test_the_config_files_are_compact_and_complete():
    """Each file has the shape that was captured on SageMaker, byte for byte, without a newline at its end."""
    sharded = S3DataSource(s3_data_type="S3Prefix", s3_uri="s3://data/x", s3_data_distribution_type="ShardedByS3Key")
    task = make_task(
        host="algo-2",
        hosts=("algo-1", "algo-2"),
        channels=(
            make_channel("train", content_type="text/csv", data_source=DataSource(s3_data_source=sharded)),
            make_channel("test", input_mode="FastFile", record_wrapper_type="RecordIO"),
        ),
        hyper_parameters={"epochs": "5", "name": '"resnet"'},
        metric_definitions=(MetricDefinition(name="m", regex="m=(.*)"),),
    )

    files = opt_ml.config_files(task, "eth0")

    assert files == {
        "hyperparameters.json": rb'{"epochs":"5","name":"\"resnet\""}',
        "inputdataconfig.json": (
            b'{"train":{"ContentType":"text/csv","TrainingInputMode":"File",'
            b'"S3DistributionType":"ShardedByS3Key","RecordWrapperType":"None"},'
            b'"test":{"TrainingInputMode":"FastFile","S3DistributionType":"FullyReplicated",'
            b'"RecordWrapperType":"RecordIO"}}'
        ),
        "resourceconfig.json": (
            b'{"current_host":"algo-2","current_instance_type":"ml.m5.large",'
            b'"current_group_name":"homogeneousCluster","hosts":["algo-1","algo-2"],'
            b'"instance_groups":[{"instance_group_name":"homogeneousCluster","instance_type":"ml.m5.large",'
            b'"hosts":["algo-1","algo-2"]}],"network_interface_name":"eth0","topology":null}'
        ),
        "metric-definition-regex.json": b'[{"Name":"m","Regex":"m=(.*)"}]',
        "upstreamoutputdataconfig.json": b"[]",
    }


def test_a_host_knows_its_instance_group_and_all_others():
    """Groups are in the order of the request, their hosts as they were dealt; the list of all hosts is sorted as text."""
    hosts = tuple(f"algo-{n}" for n in range(1, 11))
    groups = (
        HostGroup(instance_group_name="gpu", instance_type="ml.g5.xlarge", hosts=hosts[:1]),
        HostGroup(instance_group_name="cpu é", instance_type="ml.c5.xlarge", hosts=hosts[1:]),
    )
    task = make_task(host="algo-10", hosts=hosts, instance_groups=groups, instance_type="ml.c5.xlarge")

    assert opt_ml.config_files(task, "eth0")["resourceconfig.json"].decode() == (
        '{"current_host":"algo-10","current_instance_type":"ml.c5.xlarge","current_group_name":"cpu é",'
        '"hosts":["algo-1","algo-10","algo-2","algo-3","algo-4","algo-5","algo-6","algo-7","algo-8","algo-9"],'
        '"instance_groups":[{"instance_group_name":"gpu","instance_type":"ml.g5.xlarge","hosts":["algo-1"]},'
        '{"instance_group_name":"cpu é","instance_type":"ml.c5.xlarge","hosts":["algo-2","algo-3","algo-4","algo-5",'
        '"algo-6","algo-7","algo-8","algo-9","algo-10"]}],"network_interface_name":"eth0","topology":null}'
    )


def test_absent_things_leave_empty_documents():
    """A job without channels, hyperparameters and metrics gets {} and []."""
    files = opt_ml.config_files(make_task(channels=(), hyper_parameters={}), "lo")

    assert (files["hyperparameters.json"], files["inputdataconfig.json"]) == (b"{}", b"{}")
    assert files["metric-definition-regex.json"] == b"[]"


def test_hosts_are_sorted_as_strings():
    """algo-10 comes before algo-2 in hosts; the instance group keeps the order of the hosts."""
    hosts = tuple(f"algo-{n}" for n in range(1, 12))
    config = json.loads(opt_ml.config_files(make_task(hosts=hosts), "lo")["resourceconfig.json"])

    assert config["hosts"][:3] == ["algo-1", "algo-10", "algo-11"]
    assert config["instance_groups"][0]["hosts"] == list(hosts)


def test_the_tree_is_open_to_any_user_and_may_be_made_twice(tmp_path):
    """Whatever the umask, directories that the job writes to are 0777, its configuration 0755 and 0644."""
    root = tmp_path / "opt_ml"
    for _ in range(2):
        opt_ml.write(root, {"hyperparameters.json": b"{}"})

    modes = {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in (root, *root.rglob("*"))}
    assert modes == {
        ".": 0o777,
        "input": 0o777,
        "input/config": 0o755,
        "input/config/hyperparameters.json": 0o644,
        "input/data": 0o777,
        "model": 0o777,
        "output": 0o777,
        "output/data": 0o777,
        "output/metrics": 0o777,
        "output/metrics/sagemaker": 0o777,
        "output/profiler": 0o777,
    }
