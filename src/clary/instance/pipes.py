"""Feeds the Pipe mode channels of a job while its program runs: a thread for each, an epoch after the other, without end.

Used by `run_training`. What an instance program had begun to feed when it was killed is lost, and with it the training: the
reader took it for the end of the epoch. That is noticed (`is_torn`), and the job starts anew. Storage that cannot be
reached is waited for; any other trouble with it ends the job (`failure`), and until then no reader sees an end of its data.
A channel whose FIFOs the program has put out of our reach is fed no more; that is no trouble of the job's.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from clary.base.clock import Clock
from clary.base.telemetry import Logger
from clary.instance.channel_plan import StorageFor
from clary.instance.fifo import Displaced, Fifos, Note, feed_epoch
from clary.instance.grants import Grants
from clary.instance.opt_ml import INPUT_DATA, input_mode
from clary.instance.patience import Patience
from clary.instance.pipe_plan import Unit, objects, units
from clary.instance.storage_trouble import download_failure
from clary.jobs.failure import JobFailure, internal_error
from clary.jobs.instance_files import InstanceFiles
from clary.jobs.model import Channel, S3DataSource
from clary.jobs.task import InstanceTask
from clary.storage.epoch import order, stream
from clary.storage.reading import BLOCK_BYTES, ReadObject

_LOOK_FOR_READER_S = 0.01
_LOOK_FOR_READER_AT_MOST_S = 0.05
_AHEAD_BYTES = 128 * 1024 * 1024
_AHEAD_BYTES_OF_ONE = 8 * BLOCK_BYTES


def pipe_channels(task: InstanceTask) -> dict[str, tuple[Channel, S3DataSource]]:
    """The channels of the task that are fed, by name."""
    return {
        channel.channel_name: (channel, channel.s3)
        for channel in task.channels
        if channel.s3 is not None and input_mode(task, channel.input_mode) == "Pipe"
    }


def plan_file(files: InstanceFiles, channel_name: str) -> Path:
    """Where it is kept what a channel sends."""
    return files.root / f"pipe-{channel_name}.plan"


class Pipes:
    """The pipes of one instance. Not for several threads."""

    def __init__(
        self,
        *,
        task: InstanceTask,
        files: InstanceFiles,
        storage_for: StorageFor,
        grants: Grants,
        clock: Clock,
        wake: Callable[[], None],
        log: Logger,
    ) -> None:
        self._task = task
        self._files = files
        self._wake = wake
        self._log = log
        self._stopped = threading.Event()
        self._patience = Patience(storage_for=storage_for, grants=grants, clock=clock, log=log, wait=self.wait)
        self._units: dict[str, list[Unit]] = {}
        self._feeders: list[_Feeder] | None = None
        self.failure: JobFailure | None = None

    def make(self) -> None:
        """Have the first FIFO of each channel: a reader that looks for it at once must find it."""
        for name in pipe_channels(self._task):
            note = self.note(name)
            with suppress(Displaced):  # the program has begun already, and the start was not noted
                fifos = self.fifos(name)
                with suppress(Displaced):
                    fifos.make(note.epoch)
                fifos.close()
            note.close()

    def is_torn(self) -> bool:
        """Whether an earlier instance program died while it fed a reader."""
        if self._feeders is not None:
            return False
        notes = [self.note(name) for name in pipe_channels(self._task)]
        torn = any(note.at_it for note in notes)
        for note in notes:
            note.close()
        return torn

    def feed(self) -> None:
        """Begin to feed all channels, if that has not begun."""
        if self._feeders is not None:
            return
        self._feeders = []
        for channel, source in pipe_channels(self._task).values():
            feeder = _Feeder(self, channel, source)
            feeder.start()
            self._feeders.append(feeder)

    def stop(self) -> None:
        """Feed no more: the program has ended, or whoever reads gets nothing more from us."""
        self._stopped.set()

    # What follows is called by the feeders.

    def note(self, name: str) -> Note:
        """Where a channel is."""
        return Note(self._files.root / f"pipe-{name}.note")

    def fifos(self, name: str) -> Fifos:
        """The FIFOs of a channel. Raises `Displaced`."""
        return Fifos(name, self._files.opt_ml / INPUT_DATA, self._files.staging)

    def wait(self, seconds: float) -> bool:
        """Wait; whether there is anything left to do then."""
        return not self._stopped.wait(seconds)

    def hold(self, channel_name: str, error: Exception) -> None:
        """Note why the job cannot go on, and wait until the program has ended: it must not take our trouble for the end of
        its data.
        """
        self.fail(channel_name, error)
        self._stopped.wait()

    def fail(self, channel_name: str, error: Exception) -> None:
        """Note why the job cannot go on. After the program's end nothing is missed any more."""
        if self._stopped.is_set():
            return
        try:
            failure = download_failure(error) or internal_error()
        except Exception:  # noqa: BLE001  none that storage has
            self._log.error("channel not fed", channel=channel_name)
            failure = internal_error()
        self._log.warning("channel not fed", channel=channel_name, reason=failure.reason)
        self.failure = self.failure or failure
        self._wake()

    def give_up(self, channel_name: str, why: Displaced) -> None:
        """Note that a channel is fed no more."""
        self._log.warning("FIFO displaced by the program", channel=channel_name, error=str(why))

    def blocks(self, channel: Channel, source: S3DataSource, epoch: int) -> Iterator[bytes | memoryview]:
        """What goes into the FIFO of an epoch."""
        count = len(pipe_channels(self._task))
        with closing(
            stream(
                self._patience.storage_of,
                self._entries(channel, source, epoch),
                gunzip=channel.compression_type == "Gzip",
                recordio=channel.record_wrapper_type == "RecordIO",
                ahead_bytes=max(BLOCK_BYTES, min(_AHEAD_BYTES_OF_ONE, _AHEAD_BYTES // count)),
                spool=self._files.staging,
            )
        ) as blocks:
            yield from blocks

    def _entries(self, channel: Channel, source: S3DataSource, epoch: int) -> Iterator[ReadObject | bytes]:
        """What this host is sent in an epoch."""
        hosts = self._task.hosts_with(source)
        sharded = source.s3_data_distribution_type == "ShardedByS3Key"
        name = channel.channel_name
        if name not in self._units:  # a feeder has its own; reading a long listing anew would keep each epoch waiting
            self._units[name] = units(source, plan_file(self._files, name))
        chosen = order(
            self._units[name],
            epoch,
            seed=channel.shuffle_config.seed if channel.shuffle_config else None,
            host_index=hosts.index(self._task.host) if sharded else 0,
            host_count=len(hosts) if sharded else 1,
        )
        return objects(chosen, self._patience.head)


class _Feeder(threading.Thread):
    """Feeds one channel until the pipes are stopped."""

    def __init__(self, pipes: Pipes, channel: Channel, source: S3DataSource) -> None:
        super().__init__(daemon=True, name=f"feed {channel.channel_name}")
        self._pipes = pipes
        self._channel = channel
        self._source = source

    def run(self) -> None:
        """See above."""
        name = self._channel.channel_name
        try:
            with closing(self._pipes.note(name)) as note, closing(self._pipes.fifos(name)) as fifos:
                while self._epoch(fifos, note, note.epoch):
                    pass
        except Displaced as error:
            self._pipes.give_up(name, error)
        except Exception as error:  # noqa: BLE001  whatever it is, the job must learn of it
            self._pipes.fail(name, error)

    def _epoch(self, fifos: Fifos, note: Note, epoch: int) -> bool:
        pause = _LOOK_FOR_READER_S

        def wait() -> bool:
            nonlocal pause
            going_on = self._pipes.wait(pause)
            pause = min(pause * 1.1, _LOOK_FOR_READER_AT_MOST_S)
            return going_on

        return feed_epoch(
            fifos,
            note,
            epoch,
            lambda: self._pipes.blocks(self._channel, self._source, epoch),
            wait,
            lambda error: self._pipes.hold(self._channel.channel_name, error),
        )
