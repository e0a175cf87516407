"""What a caller did wrong, in AWS's words.

`AwsError` is the only exception that crosses the wire as itself. `service/` and this room raise it, the gateway turns it
into bytes in the protocol of the request. What befell a training job is another matter and never an `AwsError`.

    AwsError                            any code
      +-- ValidationException           a request that obeys JSON but not the rules of its members
      +-- ResourceInUse                 the name is taken, or the resource is busy
      +-- ResourceNotFound              the referenced resource does not exist (modelled; Describe uses ValidationException)
      +-- ResourceNotFoundException     the same in CloudWatch Logs
      +-- ResourceLimitExceeded         a quota
      +-- AccessDeniedException         the caller is known and may not
      +-- ThrottlingException           too many requests

Whether the text travels as `message` or `Message` is read from the service model by the serialiser.
"""


class AwsError(Exception):
    """An error answer: `code` is the wire name, `message` the text that the caller sees, `http_status` 400 unless said."""

    def __init__(self, *, code: str, message: str, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


class _Named(AwsError):
    def __init__(self, message: str) -> None:
        super().__init__(code=type(self).__name__, message=message)


class ValidationException(_Named):
    """A member breaks a rule, or (Describe, Stop) names nothing that exists."""


class ResourceInUse(_Named):
    """The name is taken or the resource is busy. Source: API model, ResourceInUse."""


class ResourceNotFound(_Named):
    """A referenced resource does not exist. Source: API model, ResourceNotFound."""


class ResourceNotFoundException(_Named):
    """No such log group or stream. Source: API model of CloudWatch Logs, ResourceNotFoundException."""


class ResourceLimitExceeded(_Named):
    """A quota is used up. Source: API model, ResourceLimitExceeded."""


class AccessDeniedException(_Named):
    """The caller is known and not permitted. HTTP 400, as observed of SageMaker."""


class ThrottlingException(_Named):
    """Too many requests; every client retries it."""
