"""Where things lie in the directory of an ML instance on this machine.

Shared by `compute.local`, which makes the directory and reads reports from it, and the instance program, which works in
it. Paths only: nothing here touches the disk.

What is ours stays outside the volume: one that is full must stop neither the log nor the report.
"""

from pathlib import Path


class InstanceFiles:
    """The files of one instance, below `root`. Whoever is named owns the file; the others only read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.task = root / "task.json"  # compute: the InstanceTask; there before anything else
        self.grants = root / "grants.json"  # compute: list of StorageGrant, replaced when renewed
        self.wishes = root / "wishes.json"  # compute: Wishes
        self.snapshot = root / "snapshot.json"  # instance: the newest Snapshot
        self.journal = root / "journal.jsonl"  # instance: what has been done
        self.lock = root / "agent.lock"  # instance: held while its program lives; holds its process id
        self.agent_log = root / "agent.log"  # instance: what its program says of itself
        self.volume_image = root / "volume.ext4"  # instance: the volume, if its size is limited
        self.volume = root / "volume"  # instance: what counts as the instance's disk; the volume is mounted here
        self.opt_ml = self.volume / "opt_ml"  # instance: the training program's /opt/ml
        self.staging = self.volume / "staging"  # instance: half-written downloads, beside /opt/ml
        self.scratch = self.volume / "scratch"  # instance: the training program's /tmp
        self.checkpoints = self.volume / "checkpoints"  # instance: checkpoints that are not right below /opt/ml
        self.overlays = self.volume / "overlays"  # instance: what the program changes in channels that lie in the cache
        self.cached = root / "cached.json"  # instance: which channels those are
        self.fast_file = root / "fast_file"  # instance: where channels of the input mode FastFile are mounted
        self.fast_file_lock = root / "fast_file.lock"  # held while their server lives; holds its process id
        self.fast_file_trouble = (
            root / "fast_file.trouble"
        )  # of that server: the first object that could not be read, and why
        self.fast_file_log = root / "fast_file.log"  # what that server says of itself
        self.synced = root / "checkpoints.json"  # instance: which of them are in S3
        self.program = root / "program"  # runtime: its own notes
        self.output = root / "output.raw"  # runtime: what the training program printed, as it came
