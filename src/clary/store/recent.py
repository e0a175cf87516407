"""The jobs that were looked up or written last, decoded: a client that polls one job asks for the same answer.

Used by `sqlite`, which is the only writer of its file (one server a home), and which reads and notes without giving way
in between. While a write of a job is under way nothing is remembered of it, and its outcome is noted when the write has
settled, whether or not somebody still waits for it; so what stands here is what is in the file.
"""

from collections import Counter

from clary.jobs.model import TrainingJob

JOBS_MAX = 1000


class RecentJobs:
    """At most `JOBS_MAX` jobs by name; the one that was used longest ago makes room."""

    def __init__(self) -> None:
        self._jobs: dict[str, TrainingJob] = {}
        self._writes: Counter[str] = Counter()

    def get(self, training_job_name: str) -> TrainingJob | None:
        """The job, if it is remembered."""
        job = self._jobs.pop(training_job_name, None)
        if job is not None:
            self._jobs[training_job_name] = job  # a dictionary keeps the order of insertion: this is now the newest
        return job

    def put(self, job: TrainingJob) -> None:
        """Remember the job as it is in the file now; without effect while it is being written."""
        name = job.training_job_name
        if name in self._writes:
            return
        self._jobs.pop(name, None)
        self._jobs[name] = job
        if len(self._jobs) > JOBS_MAX:
            del self._jobs[next(iter(self._jobs))]

    def begin(self, training_job_name: str) -> None:
        """A write of the job begins."""
        self._jobs.pop(training_job_name, None)
        self._writes[training_job_name] += 1

    def settle(self, training_job_name: str, written: TrainingJob | None) -> None:
        """A write has settled; `written` is what it certainly put into the file, None if that is not known."""
        self._writes[training_job_name] -= 1
        if not self._writes[training_job_name]:
            del self._writes[training_job_name]
            if written is not None:
                self.put(written)
