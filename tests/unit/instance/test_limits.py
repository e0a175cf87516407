"""What an ML instance may use of the machine."""

import pytest

from clary.instance.limits import PIDS, program_limits, volume_bytes
from clary.runtimes.port import Limits
from factories import make_task

GIB = 1 << 30


@pytest.mark.parametrize(
    ("instance_type", "cpus", "gib", "limits"),
    [
        ("ml.m5.large", 64, 256, Limits(cpus=2, memory_bytes=8 * GIB, pids=PIDS)),
        ("ml.m5.large", 2, 4, Limits(pids=PIDS)),
        ("ml.m5.24xlarge", 64, 512, Limits(memory_bytes=384 * GIB, pids=PIDS)),
        ("ml.g5.12xlarge", 16, 64, Limits(pids=PIDS, gpus=4)),
        ("ml.new.large", 64, 256, Limits(pids=PIDS)),
    ],
)
def test_the_type_limits_where_the_machine_has_more(instance_type, cpus, gib, limits):
    """Processors and memory, each by itself; a type that nobody knows limits neither."""
    task = make_task(instance_type=instance_type)
    assert program_limits(task, cpus=cpus, memory_bytes=gib * GIB) == limits


def test_an_operator_may_lift_the_limits():
    """The program then has the whole machine, but for the number of its processes."""
    task = make_task(instance_type="ml.g5.xlarge", limited=False)
    assert program_limits(task, cpus=64, memory_bytes=256 * GIB) == Limits(pids=PIDS, gpus=1)


@pytest.mark.parametrize(
    ("instance_type", "gb", "size"),
    [
        ("ml.m5.large", 30, 30 * GIB),
        ("ml.new.large", 1, GIB),
        ("ml.g5.xlarge", 30, None),
        ("ml.m5.large", None, None),
    ],
)
def test_the_volume_is_as_large_as_was_asked(instance_type, gb, size):
    """Instance stores know no VolumeSizeInGB; without volumes there is no limit."""
    assert volume_bytes(make_task(instance_type=instance_type, volume_size_in_gb=gb)) == size
