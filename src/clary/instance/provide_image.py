"""The second step, for a program that is an image: has the image on this machine before data are brought.

The runtime pulls it in the background; the turns watch for a stop, which abandons it. What names exactly this image is in
the journal then, so that no restart of the instance program pulls again or starts another one. An engine that does not
answer is waited for without bound (the time limit of the job still holds).
"""

import threading
from collections.abc import Callable

from clary.base import faults
from clary.base.clock import Clock, Instant, later
from clary.base.telemetry import Logger
from clary.instance.background import Background
from clary.instance.decisions import try_again_s
from clary.instance.journal import Journal
from clary.instance.state import Ended, Failed, ImageProvided, State
from clary.instance.stops import Stops
from clary.jobs.failure import JobFailure, client_error, internal_error
from clary.jobs.status import DOWNLOADING_IMAGE_MESSAGE
from clary.jobs.task import InstanceTask
from clary.runtimes.port import CannotStart, EngineAway, ImageUnusable, Runtime

_LOOK_AGAIN_S = 0.5

faults.declare("image.provided")


class ProvideImage:
    """See `steps.Step`."""

    name = "provide image"

    def __init__(
        self,
        *,
        task: InstanceTask,
        runtime: Runtime,
        journal: Journal,
        stops: Stops,
        clock: Clock,
        wake: Callable[[], None],
        log: Logger,
    ) -> None:
        self._reference = task.program.reference
        self._runtime = runtime
        self._journal = journal
        self._stops = stops
        self._clock = clock
        self._wake = wake
        self._log = log
        self._work: Background[str | None] | None = None
        self._not_before = Instant(0)
        self._failures = 0
        self._cancelled = threading.Event()
        self.message: str | None = DOWNLOADING_IMAGE_MESSAGE

    def is_done(self, state: State) -> bool:
        """See `steps.Step`."""
        return self._reference is None or state.image is not None or state.ended_at is not None

    def turn(self) -> float:
        """See `steps.Step`."""
        if self._stops.begun():
            self._cancelled.set()
            self._journal.note(Ended(at=self._clock.now()))
            return 0
        now = self._clock.now()
        if self._work is None:
            if now < self._not_before:
                return min(_LOOK_AGAIN_S, (self._not_before - now) / 1000)
            self._work = Background(self._provide, self._wake)
        if not self._work.done:
            return _LOOK_AGAIN_S
        work, self._work = self._work, None
        try:
            image = work.outcome()
        except EngineAway as error:
            self._put_off(error)
        except CannotStart as error:
            whose = client_error if isinstance(error, ImageUnusable) else internal_error
            self._fail(whose(str(error)))
        else:
            if image is None:  # nobody has cancelled
                self._fail(internal_error("The runtime of this instance runs no images."))
                return 0
            faults.point("image.provided")
            self._journal.note(ImageProvided(at=self._clock.now(), image=image))
            self._log.info("image provided", reference=self._reference, image=image)
        return 0

    def leave(self) -> None:
        """See `steps.Step`."""
        self._cancelled.set()

    def _provide(self) -> str | None:
        return self._runtime.provide_image(self._reference or "", self._say, self._cancelled.is_set)

    def _say(self, text: str) -> None:
        self.message = text

    def _fail(self, failure: JobFailure) -> None:
        self._log.warning("image not provided", reason=failure.reason)
        self._journal.note(Failed(at=self._clock.now(), failure=failure))

    def _put_off(self, error: EngineAway) -> None:
        self._failures += 1
        pause_s = try_again_s(self._failures)
        self._not_before = later(self._clock.now(), pause_s)
        self.message = f"{DOWNLOADING_IMAGE_MESSAGE}: the container engine does not answer, trying again"
        self._log.warning("image put off", error=str(error), pause_s=pause_s)
