"""What the controller makes of a job for each of its hosts."""

import msgspec
import pytest

from clary.controller.tasks import Site, host_groups, instance_task, storage_grants
from clary.jobs.model import CheckpointConfig, OutputDataConfig, ResourceConfig
from clary.jobs.task import InstanceTask
from clary.storage.session_policy import Grant
from factories import NOW, make_channel, make_groups, make_job, make_program, make_request

SITE = Site(region="us-east-1", s3_endpoint_url="http://s3")


def channel_for(name, *groups):
    plain = make_channel(name)
    source = msgspec.structs.replace(plain.data_source.s3_data_source, instance_group_names=groups)
    return msgspec.structs.replace(plain, data_source=msgspec.structs.replace(plain.data_source, s3_data_source=source))


def tasks(request):
    job = make_job(request=request)
    return {host: instance_task(job, host, site=SITE, now=NOW) for host in job.hosts}


def test_hosts_are_numbered_through_the_groups_in_their_order():
    job = make_job(request=make_request(resource_config=make_groups(z=2, a=9)))

    assert job.hosts == tuple(f"algo-{n}" for n in range(1, 12))
    assert [(g.instance_group_name, g.instance_type, g.hosts) for g in host_groups(job)] == [
        ("z", "ml.m5.large", job.hosts[:2]),
        ("a", "ml.c5.xlarge", job.hosts[2:]),
    ]


@pytest.mark.parametrize("size", [None, 0, 7])
def test_the_size_of_the_volume_is_what_was_said_if_anything(size):
    """And only where volumes are made at all."""
    resources = ResourceConfig(instance_type="ml.g5.xlarge", instance_count=1, volume_size_in_gb=size)
    job = make_job(request=make_request(resource_config=resources))

    assert instance_task(job, "algo-1", site=SITE, now=NOW).volume_size_in_gb is None
    with_volumes = msgspec.structs.replace(SITE, volumes=True)
    assert instance_task(job, "algo-1", site=with_volumes, now=NOW).volume_size_in_gb == size


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (None, None),
        ("", None),
        ("alias/aws/s3", "alias/aws/s3"),
        ("arn:aws:kms:us-east-1:000000000000:alias/aws/s3", "alias/aws/s3"),
        ("arn:aws-cn:kms:cn-north-1:000000000000:alias/mine", "alias/mine"),
        (
            "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
        ),
        ("1234abcd-12ab-34cd-56ef-1234567890ab", "1234abcd-12ab-34cd-56ef-1234567890ab"),
    ],
)
def test_a_key_goes_by_its_id_or_alias(said, key):
    """SeaweedFS takes ARNs of the partition aws alone."""
    output = OutputDataConfig(s3_output_path="s3://b/o", kms_key_id=said)
    job = make_job(request=make_request(output_data_config=output))

    assert instance_task(job, "algo-1", site=SITE, now=NOW).output_kms_key_id == key


def test_each_host_has_the_type_of_its_group_and_knows_all_groups():
    made = tasks(make_request(resource_config=make_groups(a=1, b=2)))

    assert [task.instance_type for task in made.values()] == ["ml.m5.large", "ml.c5.xlarge", "ml.c5.xlarge"]
    assert [task.group.instance_group_name for task in made.values()] == ["a", "b", "b"]
    assert len({task.instance_groups for task in made.values()}) == 1
    assert all(task.hosts == ("algo-1", "algo-2", "algo-3") for task in made.values())


def test_a_host_is_given_the_channels_of_its_group_alone():
    channels = (channel_for("both", "a", "b"), channel_for("first", "a"), channel_for("second", "b"))
    made = tasks(make_request(resource_config=make_groups(a=1, b=1), input_data_config=channels))

    names = {host: [channel.channel_name for channel in task.channels] for host, task in made.items()}
    assert names == {"algo-1": ["both", "first"], "algo-2": ["both", "second"]}


def test_a_job_without_groups_has_one_of_all_its_hosts():
    made = tasks(make_request(instance_count=2, channels=("train",)))

    for task in made.values():
        [group] = task.instance_groups
        assert (group.instance_group_name, group.hosts) == ("homogeneousCluster", ("algo-1", "algo-2"))
        assert task.instance_type == group.instance_type == "ml.m5.large"
        assert [channel.channel_name for channel in task.channels] == ["train"]


def test_a_restart_runs_the_image_of_the_first_attempt():
    """Whatever its tag has come to mean; the login and the caller's name stay."""
    program = make_program(image="r/a:1", reference="mirror/a:1", credential_helper=("vault",))
    job = make_job(program=program)

    def given(job):
        return instance_task(job, "algo-1", site=SITE, now=NOW).program

    assert given(job) == program
    again = msgspec.structs.replace(job, image_digest="mirror/a@sha256:1")
    assert given(again) == msgspec.structs.replace(program, reference="mirror/a@sha256:1")


def test_a_local_environment_has_no_image():
    """It stays what it is."""
    job = make_job(image_digest="x")

    task = instance_task(job, "algo-1", site=SITE, now=NOW)
    assert task.program == job.program


@pytest.mark.parametrize(
    ("uri", "prefix"), [("s3://ckpt/v2", "v2/"), ("s3://ckpt/v2/", "v2/"), ("s3://ckpt", ""), ("s3://ckpt/", "")]
)
def test_checkpoints_may_be_read_written_and_deleted_below_their_prefix_alone(uri, prefix):
    """Whether or not the URI ends in a slash; the hosts are told what was asked."""
    config = CheckpointConfig(s3_uri=uri)
    job = make_job(request=make_request(checkpoint_config=config, instance_count=2))

    assert storage_grants(job)[-1] == Grant(access="sync", bucket="ckpt", prefix=prefix)
    assert [grant.access for grant in storage_grants(job)] == ["read", "write", "sync"]
    assert {instance_task(job, host, site=SITE, now=NOW).checkpoint_config for host in job.hosts} == {config}


def test_a_job_without_checkpoints_may_delete_nothing():
    """And its hosts keep none."""
    assert [grant.access for grant in storage_grants(make_job())] == ["read", "write"]
    task = instance_task(make_job(), "algo-1", site=SITE, now=NOW)
    assert task.checkpoint_config is None
    document = msgspec.to_builtins(task)
    del document["checkpoint_config"]
    assert msgspec.convert(document, InstanceTask) == task, "as an earlier version wrote it"


@pytest.mark.parametrize("verify", [False, True])
def test_whether_etags_of_parts_are_verified_comes_from_the_site(verify):
    """As the setting says."""
    site = msgspec.structs.replace(SITE, verify_multipart_etags=verify)
    assert instance_task(make_job(), "algo-1", site=site, now=NOW).verify_multipart_etags is verify
