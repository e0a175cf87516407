"""What tests of the instance program lean on in the scripted runtime, beyond what every runtime promises."""

import msgspec
import pytest

from clary.base.clock import FixedClock
from clary.runtimes.port import CannotStart, Exited, Lost, Mount, ProgramSpec, Running
from clary.runtimes.scripted import SCRIPT, ScriptedRuntime


@pytest.fixture
def clock():
    return FixedClock()


@pytest.fixture
def runtime(clock):
    return ScriptedRuntime(clock)


@pytest.fixture
def spec(tmp_path):
    def make(**script) -> ProgramSpec:
        return ProgramSpec(
            argv=("train",),
            environment={SCRIPT: msgspec.json.encode(script).decode()},
            hostname="algo-1",
            hosts={},
            mounts=(Mount(source=str(tmp_path), target="/opt/ml", read_only=False),),
            directory=str(tmp_path / "program"),
            output=str(tmp_path / "output"),
            isolated_network=False,
        )

    return make


def test_time_is_the_clocks(runtime, clock, spec, tmp_path):
    """It runs until the clock has gone on far enough, however long the test takes."""
    runtime.start(spec(run_for=3600, exit_code=2))
    clock.advance(3599)
    assert runtime.state(tmp_path / "program") == Running()
    clock.advance(1)
    assert runtime.state(tmp_path / "program") == Exited(exit_code=2)


def test_it_writes_files_through_the_mounts(runtime, spec, tmp_path):
    """A path as the program sees it lands where the mount comes from; one below no mount is the test's mistake."""
    runtime.start(spec(files={"/opt/ml/failure": "why"}))
    assert (tmp_path / "failure").read_text() == "why"
    with pytest.raises(LookupError):
        ScriptedRuntime().start(msgspec.structs.replace(spec(files={"/x": ""}), directory=str(tmp_path / "other")))


def test_it_can_be_refused_and_be_lost(runtime, spec, tmp_path):
    """The two ends without an exit code."""
    with pytest.raises(CannotStart, match="no room"):
        runtime.start(spec(cannot_start="no room"))
    assert runtime.state(tmp_path / "program") == Lost()
    runtime.start(spec(vanishes=True))
    assert runtime.state(tmp_path / "program") == Lost()
    assert runtime.progress(tmp_path / "program").starts == 1


def test_a_mistake_in_the_script_is_told(runtime, spec):
    """An unknown word in a script is no word."""
    with pytest.raises(msgspec.ValidationError):
        runtime.start(spec(runs_for=1))


def test_a_broken_machine_can_be_played():
    """`problem` answers what it was told."""
    assert ScriptedRuntime(broken="no kernel").problem() == "no kernel"
