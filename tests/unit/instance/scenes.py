"""An ML instance in this process, with a scripted program, a directory for S3 and a clock that the test moves."""

import threading
from pathlib import Path

import msgspec

from clary.base.clock import FixedClock, Instant
from clary.base.telemetry import get_logger
from clary.instance.__main__ import metric_finder
from clary.instance.grants import Grants
from clary.instance.lifecycle import Lifecycle, Surroundings
from clary.instance.reporting import Reporter
from clary.instance.waker import Waker
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.task import InstanceTask, Snapshot, StorageGrant, Wishes, instance_name
from clary.logs.memory import MemoryLogStore
from clary.logs.metric_memory import MemoryMetricSeries
from clary.runtimes import fuse, volumes
from clary.runtimes.scripted import SCRIPT, Script, ScriptedRuntime
from clary.storage.directory import DirectoryStorage
from factories import REGION, arn, make_channel, make_program

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


def make_task(name="job", *, host="algo-1", hosts=("algo-1",), script=None, **changes) -> InstanceTask:
    """What one host of a job must do; `script` is what its program does."""
    environment = {} if script is None else {SCRIPT: msgspec.json.encode(script).decode()}
    task = InstanceTask(
        instance_name=instance_name(name, 1, host),
        training_job_name=name,
        training_job_arn=arn(name),
        region=REGION,
        attempt=1,
        host=host,
        hosts=hosts,
        instance_type="ml.m5.large",
        program=make_program(),
        container_entrypoint=(),
        container_arguments=(),
        training_input_mode="File",
        channels=(make_channel("train"),),
        hyper_parameters={"epochs": "3"},
        environment=environment,
        metric_definitions=(),
        s3_output_prefix=f"s3://models/out/{name}/output",
        max_runtime_s=3600,
        enable_network_isolation=False,
        s3_endpoint_url="http://127.0.0.1:1",
    )
    return msgspec.structs.replace(task, **changes)


class Scene:
    """One instance below `root`, and what is around it. Agents come and go; the rest stays."""

    def __init__(self, root: Path, *, script: Script | None = None, storage=None, grace_s=120.0, **task) -> None:
        self.task = make_task(script=script or Script(), **task)
        self.files = InstanceFiles(root / self.task.instance_name)
        self.files.root.mkdir(parents=True)
        self.files.task.write_bytes(msgspec.json.encode(self.task))
        self.clock = FixedClock()
        self.logs = MemoryLogStore(self.clock)
        self.series = MemoryMetricSeries()
        self.runtime = ScriptedRuntime(self.clock)
        self.buckets = DirectoryStorage(root / "s3")
        self.storage = storage or self.buckets
        self.volumes = volumes
        self.cached = None
        self.grace_s = grace_s
        self.agents: list[Lifecycle] = []
        self.snapshots: list[Snapshot] = []
        self._threads_of_others = set(threading.enumerate())
        for bucket in ("data", "models"):
            self.buckets.create_bucket(bucket)
        self.buckets.put("data", "train/a.csv", b"1,2\n")
        self.grant()

    def grant(self, *, expires_in_s: float = 3600.0) -> None:
        """Give the instance new credentials."""
        expiration = Instant(self.clock.now() + round(expires_in_s * 1000))
        keys = {"access_key_id": "AK", "secret_access_key": "SK", "session_token": "", "expiration": expiration}
        grants = [
            StorageGrant(access="read", bucket="data", prefix="", **keys),
            StorageGrant(access="write", bucket="models", prefix="out/", **keys),
            StorageGrant(access="sync", bucket="models", prefix="ckpt/", **keys),
        ]
        self.files.grants.write_bytes(msgspec.json.encode(grants))

    def wish(self, **wishes) -> None:
        """Tell the instance."""
        self.files.wishes.write_bytes(msgspec.json.encode(Wishes(**wishes)))

    def agent(self) -> Lifecycle:
        """A new instance program, begun. The one before is forgotten as it stands."""
        for agent in self.agents:
            training = next(step for step in agent.steps if step.name == "run training")
            training.leave()  # as the kernel does with a dead one's lock on the log stream
        log = get_logger("instance")
        around = Surroundings(
            task=self.task,
            files=self.files,
            runtime=self.runtime,
            volumes=self.volumes,
            fuse=fuse,
            grants=Grants(self.files.grants, self.clock),
            storage_for=lambda _access, _location: self.storage,
            logs=self.logs,
            open_series=self.series.writer,
            find_metrics=metric_finder(self.task),
            reporter=Reporter(self.files.snapshot, None, self.task.instance_name, log),
            waker=Waker(),
            clock=self.clock,
            log=log,
            grace_s=self.grace_s,
            cached=self.cached,
        )
        self.agents.append(Lifecycle(around))
        self.waker = around.waker
        return self.agents[-1]

    def go(self, agent: Lifecycle | None = None, *, until=lambda state: False, seconds: float = 100_000) -> Snapshot:
        """Let an agent work until it is finished, or its state fulfils `until`, or that time has passed; its report."""
        agent = agent or self.agent()
        agent.begin()
        deadline = self.clock.now() + seconds * 1000
        while not until(agent.state) and self.clock.now() < deadline:
            pause = agent.turn()
            self.see()
            if pause is None:
                break
            if pause:
                self.waker.wait(0.005)  # background work needs real time
                self.clock.advance(pause)
        return self.snapshot

    def is_working(self) -> bool:
        """Whether background work is under way, which an advance of the clock would overtake."""
        return any(t.name == "background" and t not in self._threads_of_others for t in threading.enumerate())

    def see(self) -> None:
        """Look at the newest report."""
        if self.files.snapshot.exists():
            found = msgspec.json.decode(self.files.snapshot.read_bytes(), type=Snapshot)
            if not self.snapshots or found != self.snapshots[-1]:
                self.snapshots.append(found)

    @property
    def snapshot(self) -> Snapshot:
        """The newest report."""
        return self.snapshots[-1]

    @property
    def lines(self) -> list[str]:
        """All messages of the instance's log stream."""
        page = self.logs.read(LOG_GROUP, self.snapshot.log_stream, from_head=True)
        return [event.message for event in page.events]

    def starts(self) -> int:
        """How often the program was started."""
        progress = self.runtime.progress(self.files.program)
        return 0 if progress is None else progress.starts

    def in_opt_ml(self, path: str) -> Path:
        """The host's path of something below /opt/ml."""
        return self.files.opt_ml / path
