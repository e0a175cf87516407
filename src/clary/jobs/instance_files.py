"""Where things lie in the directory of an ML instance on this machine.

Shared by `compute.local`, which makes the directory and reads reports from it, and the instance program, which works in
it. Paths only: nothing here touches the disk.
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
        self.opt_ml = root / "opt_ml"  # instance: the training program's /opt/ml
        self.staging = root / "staging"  # instance: half-written downloads, beside /opt/ml on the same file system
        self.scratch = root / "scratch"  # instance: the training program's /tmp
        self.program = root / "program"  # runtime: its own notes
        self.output = root / "output.raw"  # runtime: what the training program printed, as it came
