"""What befalls a job, in one family of errors, and the FailureReason that it becomes.

Raised and recorded by the instance program and the controller. What a caller did wrong is the other family:
`clary.aws.errors`. The kind says whose fault it is, and alone decides whether a restart is worth a try.

Source: SageMaker's FailureReason texts; the API model limits FailureReason to 1,024 characters.
"""

from enum import StrEnum

import msgspec

FAILURE_REASON_MAX = 1024


class FailureKind(StrEnum):
    """Whose fault a failure is: the prefix of FailureReason."""

    ALGORITHM_ERROR = "AlgorithmError"
    CLIENT_ERROR = "ClientError"
    CAPACITY_ERROR = "CapacityError"
    INTERNAL_SERVER_ERROR = "InternalServerError"


class JobFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failure of a job: its kind, a text for the user and, if the training program ended, its exit code."""

    kind: FailureKind
    message: str
    exit_code: int | None = None

    @property
    def reason(self) -> str:
        """The FailureReason, at most 1,024 characters; a long text loses its end, never its exit code."""
        prefix = f"{self.kind}: "
        suffix = "" if self.exit_code is None else f", exit code: {self.exit_code}"
        return prefix + self.message[: FAILURE_REASON_MAX - len(prefix) - len(suffix)] + suffix

    @property
    def may_be_retried(self) -> bool:
        """Whether a restart could help (Source: API model, RetryStrategy: only after an InternalServerError)."""
        return self.kind is FailureKind.INTERNAL_SERVER_ERROR


class JobFailed(Exception):
    """Carries a `JobFailure` out of the depth where it was noticed."""

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def program_failure(failure_text: str, exit_code: int, *, starved: bool = False) -> JobFailure:
    """The program ended with another code than 0; `failure_text` is what it wrote to /opt/ml/output/failure.

    `starved`: a process of it was killed for want of memory, which is told where the program left no word of its own.
    Source: a FailureReason of SageMaker, seen with built-in algorithms; that it is the one for this is inferred.
    """
    if starved and not failure_text:
        return JobFailure(
            kind=FailureKind.CLIENT_ERROR,
            message="Please use an instance type with more memory, or reduce the size of job data processed on an instance.",
            exit_code=exit_code,
        )
    return JobFailure(kind=FailureKind.ALGORITHM_ERROR, message=failure_text[:FAILURE_REASON_MAX], exit_code=exit_code)


def client_error(message: str) -> JobFailure:
    """Configuration, data or permissions do not fit."""
    return JobFailure(kind=FailureKind.CLIENT_ERROR, message=message)


def internal_error(message: str = "We encountered an internal error. Please try again.") -> JobFailure:
    """The platform failed the job."""
    return JobFailure(kind=FailureKind.INTERNAL_SERVER_ERROR, message=message)
