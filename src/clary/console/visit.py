"""What a page is made from: the operations that it asks, what the address says, who looks, and when.

`app` makes a `Visit` of each request; the functions of the pages take it and answer with a context. They ask the same
operations as any client, in the same process, and raise what these raise (`AwsError`), `NoSuchPage` and `BadAddress`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from clary.aws.errors import ValidationException
from clary.base.clock import Instant
from clary.console.contexts import Crumb, PageFrame
from clary.service.training_job_execution import TrainingJobExecution


class NoSuchPage(Exception):
    """Nothing has this address; the text says so as a sentence."""


class BadAddress(Exception):
    """The parameters of the address are none; the text says which, as a sentence."""


class Ask(Protocol):
    """An operation, called as on the wire. Raises `AwsError`."""

    async def __call__(self, service: str, operation: str, params: dict[str, Any]) -> Any:
        """The answer in builtins, named as on the wire; times are seconds."""
        ...


class MakeFrame(Protocol):
    """Makes what stands around a page."""

    def __call__(
        self, title: str, section: str, crumbs: tuple[Crumb, ...], *, notice: str | None = None, has_twin: bool = True
    ) -> PageFrame:
        """The frame of the page that is asked for."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """One request for a page. `query` holds what the address asks for, without what is empty."""

    ask: Ask
    execution: Callable[[str], Awaitable[TrainingJobExecution]]
    query: Mapping[str, str]
    now: Instant
    account_id: str
    frame: MakeFrame

    async def describe_job(self, name: str) -> dict[str, Any]:
        """DescribeTrainingJob. Raises `NoSuchPage`."""
        try:
            answer: dict[str, Any] = await self.ask("sagemaker", "DescribeTrainingJob", {"TrainingJobName": name})
        except ValidationException:
            raise NoSuchPage(f"There is no training job {name}.") from None
        return answer


def instant(seconds: float) -> Instant:
    """A time of an answer of SageMaker's."""
    return Instant(round(seconds * 1000))


def span_s(start: Instant, end: Instant) -> float:
    """From one to the other, in seconds; clocks that differ make no negative time."""
    return max(0, end - start) / 1000
