"""The contract between controller and instance: names, hosts, and that all of it crosses a file as JSON."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.jobs.failure import internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import MetricData, MetricDefinition
from clary.jobs.task import (
    HostGroup,
    InstanceTask,
    Phase,
    ProgramEnd,
    Snapshot,
    StopReason,
    StorageGrant,
    Wishes,
    instance_name,
)
from factories import NOW, make_channel, make_program


def _task(host):
    return InstanceTask(
        instance_name=instance_name("job", 1, host),
        training_job_name="job",
        training_job_arn="arn",
        region="us-east-1",
        attempt=1,
        host=host,
        hosts=("algo-1", "algo-2"),
        instance_type="ml.m5.large",
        program=make_program(),
        container_entrypoint=(),
        container_arguments=("train",),
        training_input_mode="File",
        channels=(make_channel("train"),),
        hyper_parameters={"a": "ä"},
        environment={},
        metric_definitions=(MetricDefinition(name="loss", regex="loss=(.*)"),),
        s3_output_prefix="s3://models/job/output",
        max_runtime_s=60,
        enable_network_isolation=False,
        s3_endpoint_url="http://127.0.0.1:1",
    )


def test_the_first_host_leads():
    """It uploads what all hosts made."""
    assert [_task(host).is_leader for host in ("algo-1", "algo-2")] == [True, False]


def test_a_task_of_an_earlier_version_has_one_group_of_all_hosts():
    """A task.json that says nothing of instance groups is that of a job without them."""
    document = msgspec.to_builtins(_task("algo-2"))
    del document["instance_groups"]
    task = msgspec.convert(document, InstanceTask)

    assert task.groups == (task.group,)
    assert task.group == HostGroup(
        instance_group_name="homogeneousCluster", instance_type="ml.m5.large", hosts=("algo-1", "algo-2")
    )


def test_a_channel_goes_to_the_hosts_of_the_groups_that_it_names():
    """In the order of the hosts, whatever the order of the names; without names to all."""
    groups = (
        HostGroup(instance_group_name="a", instance_type="ml.m5.large", hosts=("algo-1",)),
        HostGroup(instance_group_name="b", instance_type="ml.c5.large", hosts=("algo-2", "algo-3")),
        HostGroup(instance_group_name="c", instance_type="ml.c5.large", hosts=("algo-4",)),
    )
    task = msgspec.structs.replace(
        _task("algo-3"), hosts=("algo-1", "algo-2", "algo-3", "algo-4"), instance_groups=groups
    )
    source = make_channel().data_source.s3_data_source

    assert task.group.instance_group_name == "b"
    assert task.hosts_with(source) == task.hosts
    for names, hosts in {("b",): ("algo-2", "algo-3"), ("c", "a"): ("algo-1", "algo-4")}.items():
        assert task.hosts_with(msgspec.structs.replace(source, instance_group_names=names)) == hosts


@given(st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True), st.integers(1, 9), st.integers(1, 20))
def test_an_instance_has_a_name_of_its_own(job, attempt, host):
    """Known before the instance exists, and another for another attempt or host."""
    names = {instance_name(job, attempt + a, f"algo-{host + h}") for a in (0, 1) for h in (0, 1)}
    assert len(names) == 4
    assert f"{job}-a{attempt}-algo-{host}" in names


@pytest.mark.parametrize(
    "document",
    [
        _task("algo-2"),
        Wishes(stop=StopReason.MAX_RUNTIME_EXCEEDED, upload=True),
        Wishes(),
        StorageGrant(
            access="read",
            bucket="b",
            prefix="p/",
            access_key_id="a",
            secret_access_key="s",
            session_token="t",
            expiration=NOW,
        ),
        Snapshot(sequence=0, phase=Phase.PREPARING),
        Snapshot(
            sequence=9,
            phase=Phase.FINISHED,
            ready_at=NOW,
            stop_reason=StopReason.PEER_ENDED,
            program_end=ProgramEnd(exit_code=None),
            failure=internal_error(),
            metrics=(MetricData(metric_name="loss", value=0.1, timestamp=NOW),),
        ),
    ],
    ids=lambda document: type(document).__name__,
)
def test_everything_survives_a_file(document):
    """Written by one program, read by another."""
    assert msgspec.json.decode(msgspec.json.encode(document), type=type(document)) == document


def test_no_two_files_of_an_instance_share_a_place(tmp_path):
    """All lie directly in its directory, or on its volume, where only the program's own and what it is to get are."""
    files = {name: path for name, path in vars(InstanceFiles(tmp_path)).items() if name != "root"}
    assert len(set(files.values())) == len(files)
    on_volume = {name for name, path in files.items() if path.parent == files["volume"]}
    assert on_volume == {"opt_ml", "checkpoints", "overlays", "staging", "scratch"}
    assert {path.parent for name, path in files.items() if name not in on_volume} == {tmp_path}
