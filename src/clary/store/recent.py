"""The jobs that were looked up or written last, decoded: a client that polls one job asks for the same answer.

Used by `sqlite`, which is the only writer of its file (one server a home), and which reads and notes without giving way
in between; so what stands here is never older than what is durable and acknowledged. A name is dropped while a write of it
is under way and after one that failed: then the file is asked.
"""

from clary.jobs.model import TrainingJob

JOBS_MAX = 1000


class RecentJobs:
    """At most `JOBS_MAX` jobs by name; the one that was used longest ago makes room."""

    def __init__(self) -> None:
        self._jobs: dict[str, TrainingJob] = {}

    def get(self, training_job_name: str) -> TrainingJob | None:
        """The job, if it is remembered."""
        job = self._jobs.pop(training_job_name, None)
        if job is not None:
            self._jobs[training_job_name] = job  # a dictionary keeps the order of insertion: this is now the newest
        return job

    def put(self, job: TrainingJob) -> None:
        """Remember the job as it is in the file now."""
        self._jobs.pop(job.training_job_name, None)
        self._jobs[job.training_job_name] = job
        if len(self._jobs) > JOBS_MAX:
            del self._jobs[next(iter(self._jobs))]

    def drop(self, training_job_name: str) -> None:
        """Forget the job: the file knows better."""
        self._jobs.pop(training_job_name, None)
