"""An instance is measured once a minute while its program runs."""

from clary.logs.metric_series import TRAINING_JOBS, Metric
from clary.runtimes.scripted import Script


def measured(scene, name, host="job/algo-1"):
    metric = Metric(namespace=TRAINING_JOBS, name=name, dimensions=(("Host", host),))
    return scene.series.points("job", metric, start=0, end=1 << 40)


def test_a_value_each_minute(scene):
    """Cores in use in percent of one, memory and disk in percent of all."""
    instance = scene(script=Script(run_for=200, cores=1.5, memory=0.25))
    begin = instance.clock.now() // 1000
    instance.go()

    cpu, memory, disk = (measured(instance, f"{what}Utilization") for what in ("CPU", "Memory", "Disk"))
    assert len(cpu) == len(memory) == len(disk) == 3
    assert all(abs(point.last - 150) < 0.001 and point.unit == "Percent" for point in cpu)
    assert [point.last for point in memory] == [25.0] * 3
    assert all(0 < point.last <= 100 for point in disk)
    assert all(60 * n <= point.second - begin < 60 * n + 5 for n, point in enumerate(cpu, start=1))


def test_a_short_program_has_no_value(scene):
    """It has ended before the first minute has."""
    instance = scene(script=Script(run_for=59, cores=1.0))
    instance.go()
    assert instance.series.owners() == []


def test_not_being_able_to_measure_ends_nothing(scene):
    """It is told in our log."""

    def broken(_owner, _name):
        raise OSError(28, "No space left on device")

    instance = scene(script=Script(run_for=200))
    instance.series.writer = broken
    assert instance.go().program_end.exit_code == 0
