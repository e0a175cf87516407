"""How the training program is started: command, environment, addresses, mounts. All pure."""

import ipaddress
from pathlib import Path

import pytest

from clary.instance.command import argv
from clary.instance.hosts import addresses
from clary.instance.program_environment import program_environment
from clary.instance.run_training import program_spec
from clary.jobs.instance_files import InstanceFiles
from clary.runtimes.port import Limits
from factories import make_program
from unit.instance.scenes import make_task


@pytest.mark.parametrize(
    ("image", "entrypoint", "arguments", "expected"),
    [
        (("run",), (), (), ("run", "train")),
        ((), (), (), ("train",)),
        (("run",), ("bash", "-c"), (), ("bash", "-c")),
        (("run",), (), ("a", "b"), ("run", "a", "b")),
        (("run",), ("python",), ("x.py",), ("python", "x.py")),
    ],
)
def test_the_command_follows_the_start_table(image, entrypoint, arguments, expected):
    """An entrypoint drops `train`, arguments replace it, and both together are all there is."""
    task = make_task(
        program=make_program(entrypoint=image), container_entrypoint=entrypoint, container_arguments=arguments
    )

    assert argv(task) == expected


def test_the_environment_is_layered():
    """The image's variables yield to the request's, and both to the platform's; no credentials are there."""
    program = make_program(environment={"A": "image", "B": "image", "HOME": "/home/x"}, search_path=("/env/bin",))
    task = make_task(program=program, environment={"B": "request", "TRAINING_JOB_NAME": "mine"})

    environment = program_environment(task, "eth0")

    assert environment == {
        "A": "image",
        "B": "request",
        "HOME": "/home/x",
        "PATH": "/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TRAINING_JOB_NAME": "job",
        "TRAINING_JOB_ARN": task.training_job_arn,
        "AWS_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_ECS_EC2",
        "HOSTNAME": "algo-1",
        "DMLC_INTERFACE": "eth0",
        "NVIDIA_VISIBLE_DEVICES": "void",
    }


def test_a_directory_for_metrics_is_named_if_it_was_asked_for():
    """Where SageMaker's own libraries write theirs."""
    environment = program_environment(make_task(enable_sage_maker_metrics_time_series=True), "lo")
    assert environment["SAGEMAKER_METRICS_DIRECTORY"] == "/opt/ml/output/metrics/sagemaker"


def test_the_request_may_replace_the_path():
    """A PATH of the request is taken as it is."""
    assert program_environment(make_task(environment={"PATH": "/x"}), "lo")["PATH"] == "/x"


def test_each_host_has_an_address_of_its_own_on_the_loopback():
    """All hosts of an attempt agree on distinct loopback addresses outside 127.0.x, other attempts have others."""
    hosts = tuple(f"algo-{n}" for n in range(1, 21))
    one, other = (addresses(make_task(host=host, hosts=hosts)) for host in ("algo-1", "algo-7"))

    assert one == other
    assert list(one) == list(hosts)
    assert len(set(one.values())) == 20
    assert all(ipaddress.ip_address(a) in ipaddress.ip_network("127.0.0.0/8") for a in one.values())
    assert not any(a.startswith("127.0.") for a in one.values())
    assert addresses(make_task(hosts=hosts, attempt=2)) != one


def test_the_program_sees_opt_ml_tmp_and_its_environment():
    """/opt/ml and /tmp can be written, what the image needs is read-only at its own place."""
    files = InstanceFiles(Path("/x"))
    limits = Limits(cpus=2.0)
    spec = program_spec(
        make_task(program=make_program(read_only_paths=("/env",)), enable_network_isolation=True), files, "lo", limits
    )

    assert [(m.source, m.target, m.read_only) for m in spec.mounts] == [
        ("/x/volume/opt_ml", "/opt/ml", False),
        ("/x/volume/scratch", "/tmp", False),
        ("/env", "/env", True),
    ]
    assert (spec.hostname, spec.isolated_network, spec.output, spec.limits) == ("algo-1", True, "/x/output.raw", limits)
