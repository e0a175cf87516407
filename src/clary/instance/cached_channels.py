"""Channels out of the input cache: a job gets private copies without paying for them.

Called by `stage_channels`, by `run_training`, and by `lifecycle` after a reboot. Where an overlay can be mounted, the channel is one,
above the cache's own files: by us, or else by the sandbox for its program. Otherwise the files are cloned or copied. Which it is
shows when it is tried. What is in the cache, and who may have it, is `storage.cache`.
"""

import errno
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from clary.base import typed
from clary.base.files import write_atomically
from clary.base.telemetry import Logger
from clary.instance.channel_plan import ChannelPlan
from clary.instance.opt_ml import INPUT_DATA
from clary.jobs.instance_files import InstanceFiles
from clary.runtimes.port import Mount, Overlays, VolumeTrouble
from clary.storage.cache import InputCache
from clary.storage.cache_copy import copy_tree
from clary.storage.transfer import InsufficientDisk, Progress


class _Lent(msgspec.Struct, frozen=True, kw_only=True):
    """A channel that lies in the cache: the tree below its overlay, and what it would take on the disk, in bytes.

    `in_sandbox`: it is mounted when the program starts, for the program alone.
    """

    channel_name: str
    tree: str
    size_bytes: int
    in_sandbox: bool = False


class CachedChannels:
    """The channels of one instance that come by way of the cache.

    `in_sandbox` prepares for an overlay that the program's own sandbox mounts (see `sandbox_overlays.make`); None if it has none.
    """

    def __init__(
        self,
        *,
        cache: InputCache,
        overlays: Overlays,
        in_sandbox: Callable[[Path, Path], None] | None = None,
        files: InstanceFiles,
        log: Logger,
    ) -> None:
        self._cache = cache
        self._overlays = overlays
        self._in_sandbox = in_sandbox
        self._files = files
        self._log = log

    def bring(
        self,
        plan: ChannelPlan,
        channel_name: str,
        *,
        room_bytes: int | None,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        """Have the channel's directory hold the plan's objects; False if it must be downloaded, and is no mount then.

        `room_bytes` is what is free on the instance's own disk, None if it has none: a channel that would not fit does not
        come (`InsufficientDisk`), although it takes no room there. Raises what `InputCache.bring` raises, and `Cancelled`.
        """
        directory = self._directory(channel_name)
        self._overlays.detach_below(self._own(channel_name))  # of an attempt that was cut short
        others = [lent for lent in self._lent() if lent.channel_name != channel_name]
        self._note(others)
        if room_bytes is not None and plan.selection.size_bytes > room_bytes - sum(lent.size_bytes for lent in others):
            raise InsufficientDisk(f"{plan.selection.size_bytes} bytes do not fit on the instance's disk")
        tree = self._cache.bring(
            plan.storage,
            plan.bucket,
            plan.selection,
            user=self._files.task,
            on_progress=on_progress,
            cancelled=cancelled,
        )
        if tree is None:
            self._cache.make_room(plan.selection.size_bytes)
            return False
        lent = _Lent(channel_name=channel_name, tree=str(tree), size_bytes=plan.selection.size_bytes)
        if self._lend(lent, others, directory):
            self._log.info("channel lies in the cache", channel=channel_name)
            return True
        return self._copy(plan, tree, directory, cancelled)

    def mounts(self) -> tuple[Mount, ...]:
        """What is to be mounted for the program. A source that the engine does not see is an error of the start, not an empty
        channel: it is not there without its mount.
        """
        return tuple(self._mount(lent) for lent in self._lent())

    def attach_again(self, channel_names: Collection[str]) -> None:
        """Mount again what a reboot has unmounted of these channels, which were complete. Raises `VolumeTrouble`."""
        for lent in self._lent():
            if lent.channel_name not in channel_names:
                continue
            tree, name = Path(lent.tree), lent.channel_name
            try:
                if not self._cache.has(tree):
                    raise FileNotFoundError(errno.ENOENT, "the cache has it no more", lent.tree)
                if not lent.in_sandbox:
                    self._overlays.attach_again(tree.parent, self._own(name))
            except OSError as error:
                raise VolumeTrouble(f"channel {name} was lost when the machine went down: {error}") from None

    def _lend(self, lent: _Lent, others: list[_Lent], directory: Path) -> bool:
        """Have the channel be an overlay, if there can be one."""
        tree, own = Path(lent.tree), self._own(lent.channel_name)
        try:
            try:
                self._overlays.attach(tree.parent, own)
            except OSError as error:
                if self._in_sandbox is None:
                    raise
                self._log.info("no overlay but in the sandbox", channel=lent.channel_name, reason=str(error))
                self._in_sandbox(tree, own)
                lent = msgspec.structs.replace(lent, in_sandbox=True)
            if directory.exists():
                shutil.rmtree(directory)  # of an attempt that was cut short
            directory.mkdir()
            directory.chmod(0o755)
            self._note([*others, lent])
        except OSError as error:
            self._log.info("no overlay", channel=lent.channel_name, reason=str(error))
            return False
        return True

    def _mount(self, lent: _Lent) -> Mount:
        own, target = self._own(lent.channel_name), f"/opt/ml/{INPUT_DATA}/{lent.channel_name}"
        if lent.in_sandbox:
            return Mount(source=str(own), target=target, read_only=False, lower=lent.tree)
        return Mount(source=str(own / "at" / Path(lent.tree).name), target=target, read_only=False)

    def _copy(self, plan: ChannelPlan, tree: Path, directory: Path, cancelled: Callable[[], bool]) -> bool:
        try:
            copy_tree(tree, plan.selection, directory, cancelled=cancelled)
        except (InsufficientDisk, OSError) as error:
            self._log.warning("channel not copied from the cache", channel=directory.name, reason=str(error))
            self._cache.release(tree, self._files.task)
            self._cache.make_room(plan.selection.size_bytes)
            return False
        self._cache.release(tree, self._files.task)
        return True

    def _directory(self, channel_name: str) -> Path:
        return self._files.opt_ml / INPUT_DATA / channel_name

    def _own(self, channel_name: str) -> Path:
        return self._files.overlays / channel_name

    def _lent(self) -> list[_Lent]:
        try:
            return typed.from_json(self._files.cached.read_bytes(), list[_Lent])
        except FileNotFoundError:
            return []

    def _note(self, lent: list[_Lent]) -> None:
        if lent or self._files.cached.exists():
            write_atomically(self._files.cached, msgspec.json.encode(lent))
