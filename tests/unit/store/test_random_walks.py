"""Random walks over a job store, against the model of a dictionary."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clary.jobs import transitions
from clary.jobs.failure import internal_error
from clary.jobs.status import TRANSITIONS, Event, TrainingJobStatus
from clary.store.memory import MemoryStore
from clary.store.port import ListQuery, NameTaken, NoSuchJob, SortBy, StaleVersion
from clary.store.sqlite import SqliteStore
from factories import NOW, make_job

_names = st.sampled_from(["a", "A", "b", "B-1", "b-1", "c", "dd", "D-d", "e"])


class JobStoreWalk(RuleBasedStateMachine):
    """Every step is made on both stores, and both must answer alike."""

    def __init__(self):
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._memory = MemoryStore()
        self._open()
        self._read = {}  # what somebody has read, perhaps long ago
        self._now = NOW

    def _open(self):
        self._sqlite = self._runner.run(SqliteStore.open(Path(self._directory.name) / "jobs.db"))

    def teardown(self):
        self._runner.run(self._sqlite.close())
        self._runner.close()
        self._directory.cleanup()

    def _both(self, call):
        outcomes = []
        for store in (self._sqlite, self._memory):
            try:
                outcomes.append(self._runner.run(call(store)))
            except NameTaken as taken:
                outcomes.append((NameTaken, taken.training_job_arn))
            except (NoSuchJob, StaleVersion) as refusal:
                outcomes.append(type(refusal))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    @rule(name=_names, passed_ms=st.integers(0, 3))
    def create(self, name, passed_ms):
        self._now += passed_ms
        self._both(lambda store: store.create(make_job(name, at=self._now)))

    @rule(name=_names)
    def read(self, name):
        job = self._both(lambda store: store.get(name))
        if job is not NoSuchJob:
            self._read[name] = job

    @rule(name=_names, event=st.sampled_from(Event), passed_ms=st.integers(0, 3), fresh=st.booleans())
    def move(self, name, event, passed_ms, fresh):
        """Write what was read, which may be stale."""
        self._now += passed_ms
        if fresh:
            self.read(name)
        job = self._read.get(name)
        if job is None or event not in TRANSITIONS[job.secondary_status]:
            return
        failure = internal_error() if event is Event.FAILED else None
        moved = transitions.apply(job, event, at=self._now, reason="walk", failure=failure)
        written = self._both(lambda store: store.commit(transitions.touch(moved, self._now)))
        if written is not StaleVersion and written is not NoSuchJob:
            self._read[name] = written

    @rule(name=_names)
    def release(self, name):
        job = self._read.get(name)
        if job is not None and job.is_terminal:
            self._both(lambda store: store.commit(transitions.release(job)))

    @rule(name=_names)
    def find(self, name):
        self._both(lambda store: store.find(name))

    @rule(name=_names, fresh=st.booleans())
    def delete(self, name, fresh):
        """Delete what was read, which may be stale, deleted before, or of an earlier job of the name."""
        if fresh:
            self.read(name)
        job = self._read.get(name)
        if job is not None:
            self._both(lambda store: store.delete(job))

    @rule(name=_names)
    def commit_what_was_never_created(self, name):
        self._both(lambda store: store.commit(msgspec.structs.replace(make_job(name), version=99)))

    @rule(
        sort_by=st.sampled_from(SortBy),
        descending=st.booleans(),
        status=st.none() | st.sampled_from(TrainingJobStatus),
        contains=st.none() | st.sampled_from(["b", "D", "-"]),
        limit=st.integers(1, 5),
    )
    def list_all(self, sort_by, descending, status, contains, limit):
        query = ListQuery(sort_by=sort_by, descending=descending, status_equals=status, name_contains=contains)
        cursor = None
        while True:
            page = self._both(lambda store, after=cursor: store.list(query, limit=limit, after=after))
            cursor = page.cursor
            if cursor is None:
                return

    @rule()
    def restart(self):
        """Everything that was acknowledged is found again."""
        self._runner.run(self._sqlite.close())
        self._open()

    @invariant()
    def the_same_is_left_to_do(self):
        self._both(lambda store: store.unreleased())


JobStoreWalk.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestJobStoreWalk = JobStoreWalk.TestCase
