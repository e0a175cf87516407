"""The first step: makes the instance's disk, and on it /opt/ml and the other directories that the program will see."""

from clary.base import faults
from clary.base.clock import Clock
from clary.instance import opt_ml
from clary.instance.journal import Journal
from clary.instance.limits import volume_bytes
from clary.instance.state import Ready, State
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask
from clary.runtimes.port import Runtime, Volumes

faults.declare("instance.prepare")


class Prepare:
    """See `steps.Step`."""

    name = "prepare"
    message = None

    def __init__(
        self,
        task: InstanceTask,
        files: InstanceFiles,
        runtime: Runtime,
        volumes: Volumes,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._task = task
        self._files = files
        self._runtime = runtime
        self._volumes = volumes
        self._journal = journal
        self._clock = clock

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return state.ready_at is not None or state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`. Raises `VolumeTrouble`."""
        self._files.volume.mkdir(mode=0o755, exist_ok=True)
        size_bytes = volume_bytes(self._task)
        if size_bytes is not None:
            self._volumes.attach(self._files.volume_image, self._files.volume, size_bytes)
        opt_ml.write(self._files.opt_ml, opt_ml.config_files(self._task, self._runtime.network_interface))
        self._files.staging.mkdir(mode=0o700, exist_ok=True)
        self._files.scratch.mkdir(exist_ok=True)
        self._files.scratch.chmod(0o1777)
        self._files.program.mkdir(mode=0o700, exist_ok=True)
        self._runtime.prepare(self._files.program)
        faults.point("instance.prepare")
        self._journal.note(Ready(at=self._clock.now()))
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
