"""Resources that a request names, and SageMaker's two refusals: there is no such resource, or its status forbids it.

Called by the operations on training jobs and on tags.
"""

from clary.aws.errors import ValidationException
from clary.jobs.model import TrainingJob
from clary.store.port import NoSuchJob, Store


async def named_job(store: Store, training_job_name: str) -> TrainingJob:
    """The job of that name, spelt exactly. Raises `ValidationException`."""
    try:
        return await store.get(training_job_name)
    except NoSuchJob:
        raise not_found() from None


def not_found() -> ValidationException:
    """The refusal of a name or an ARN that nothing has (observed text and code)."""
    return ValidationException("Requested resource not found.")


def rejected(job: TrainingJob) -> str:
    """The text that was observed of StopTrainingJob; of other operations by analogy."""
    return f"The request was rejected because the training job is in status {job.training_job_status}."
