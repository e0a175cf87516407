"""Which jobs may have ML instances: first come, first served, within the number of instances of this compute.

Kept in memory by `loop` and rebuilt from the store at each start. Pure bookkeeping.
"""


class InstanceQueue:
    """Jobs that hold instances, and jobs that wait for them in the order of their arrival."""

    def __init__(self, instance_count: int) -> None:
        self._instance_count = instance_count
        self._holding: dict[str, int] = {}
        self._waiting: dict[str, int] = {}

    @property
    def free(self) -> int:
        """How many instances nobody holds."""
        return self._instance_count - sum(self._holding.values())

    def wait(self, name: str, count: int) -> None:
        """Stand in the queue, if not there and not holding already."""
        if name not in self._holding:
            self._waiting.setdefault(name, count)

    def is_waiting(self, name: str) -> bool:
        """Whether the job stands in the queue: nothing but its turn will move it."""
        return name in self._waiting

    def may_launch(self, name: str) -> bool:
        """Whether this job is the next and there is room: a big job is never overtaken for ever by small ones.

        A job larger than the whole compute (the setting was lowered since) runs alone rather than block the queue.
        """
        first = next(iter(self._waiting), None)
        return name == first and (self._waiting[name] <= self.free or not self._holding)

    def hold(self, name: str, count: int) -> None:
        """The job has its instances now."""
        self._waiting.pop(name, None)
        self._holding[name] = count

    def leave(self, name: str) -> None:
        """The job needs none any more."""
        self._waiting.pop(name, None)
        self._holding.pop(name, None)

    def next(self) -> str | None:
        """The job that should be looked at because there is room for it now."""
        first = next(iter(self._waiting), None)
        return first if first is not None and self.may_launch(first) else None
