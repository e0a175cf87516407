"""The step that has the image on the machine: between /opt/ml and the data, once, and never in the way of a stop."""

import threading

import pytest

from clary.instance.provide_image import ProvideImage
from clary.jobs.failure import FailureKind
from clary.jobs.task import StopReason
from clary.runtimes.port import CannotStart, EngineAway, ImageUnusable
from clary.runtimes.scripted import Script, ScriptedRuntime
from factories import make_program

REFERENCE = "reg.io/tool:1"
IMAGE = "reg.io/tool@sha256:" + "1" * 64


class ImageRuntime(ScriptedRuntime):
    """A scripted runtime with images: each call of `provide_image` takes the next of `answers`, an error or an image."""

    def __init__(self, clock, *answers, says=()):
        super().__init__(clock)
        self.answers = list(answers)
        self.says = says
        self.said = threading.Event()
        self.calls = []

    def provide_image(self, image, say, cancelled):
        self.calls.append(image)
        for line in self.says:
            say(line)
        self.said.set()
        if not self.answers:  # pulls for ever
            while not cancelled():
                self.said.wait(0.01)
            return None
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def images(scene):
    """Makes a scene whose program is an image, on a runtime with these answers."""

    def make(*answers, says=(), **what):
        made = scene(program=make_program(reference=REFERENCE), **what)
        made.runtime = ImageRuntime(made.clock, *answers, says=says)
        return made

    return make


def test_the_image_is_there_before_the_data(images):
    """It is told exactly from then on, and the job goes on as any other."""
    s = images(IMAGE, script=Script())
    s.go(until=lambda state: state.image is not None)
    assert not s.agents[0].state.staged_channels
    end = s.go(s.agents[0])

    assert (end.image, end.failure, end.program_end.exit_code) == (IMAGE, None, 0)
    assert s.runtime.calls == [REFERENCE]
    assert s.snapshots[0].image is None


def test_a_program_that_is_no_image_needs_none(scene):
    """Nothing is asked, and nothing is told."""
    s = scene(script=Script())
    s.runtime = ImageRuntime(s.clock)

    assert s.go().image is None
    assert s.runtime.calls == []


def test_another_instance_program_does_not_pull_again(images):
    """What the journal says is enough, also after the tag has moved."""
    s = images(IMAGE, "reg.io/tool@sha256:" + "2" * 64)
    s.go(until=lambda state: state.image is not None)

    assert s.go().image == IMAGE
    assert len(s.runtime.calls) == 1


def test_progress_is_the_message_of_downloading(images):
    """As the runtime says it, beginning with SageMaker's words."""
    s = images(says=("Downloading the training image: 3 of 7 layers, 120.4 MB of 1.1 GB",))
    agent = s.agent()
    step = next(step for step in agent.steps if isinstance(step, ProvideImage))
    assert step.message == "Downloading the training image"
    s.go(agent, until=lambda _: s.runtime.said.is_set() and s.snapshot.message == s.runtime.says[0])

    assert s.snapshot.message == "Downloading the training image: 3 of 7 layers, 120.4 MB of 1.1 GB"
    step.leave()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ImageUnusable("'reg.io/tool:1' is not there."), FailureKind.CLIENT_ERROR),
        (CannotStart("The engine's disk is full."), FailureKind.INTERNAL_SERVER_ERROR),
    ],
)
def test_an_image_that_cannot_be_had_fails_the_job(images, error, kind):
    """Whose fault it is depends; the text is the runtime's."""
    s = images(error)
    end = s.go()

    assert (end.failure.kind, end.failure.message) == (kind, str(error))
    assert (end.image, end.program_end.exit_code, s.starts()) == (None, None, 0)


def test_an_engine_that_does_not_answer_is_waited_for(images):
    """With pauses, and the user can see it."""
    s = images(EngineAway("asleep"), EngineAway("asleep"), IMAGE)
    end = s.go()

    assert end.image == IMAGE
    assert end.failure is None
    assert "Downloading the training image: the container engine does not answer, trying again" in {
        snapshot.message for snapshot in s.snapshots
    }
    assert s.clock.now() - end.ready_at >= 1500


def test_a_stop_abandons_the_pull(images):
    """The program never starts, and the runtime is told."""
    s = images()
    agent = s.agent()
    s.go(agent, until=lambda _: s.runtime.said.is_set())
    s.wish(stop=StopReason.STOP_TRAINING_JOB)
    end = s.go(agent)

    assert end.stop_reason is StopReason.STOP_TRAINING_JOB
    assert (end.program_end.exit_code, end.failure, s.starts()) == (None, None, 0)
    step = next(step for step in agent.steps if isinstance(step, ProvideImage))
    assert step._cancelled.is_set()


def test_the_time_limit_holds_for_a_pull_too(images):
    """Which counts from the moment at which the instance is ready."""
    s = images(max_runtime_s=60)

    assert s.go().stop_reason is StopReason.MAX_RUNTIME_EXCEEDED


def test_a_runtime_without_images_fails_the_job(scene):
    """Which would be a mistake of ours."""
    s = scene(program=make_program(reference=REFERENCE))

    assert s.go().failure.kind is FailureKind.INTERNAL_SERVER_ERROR
