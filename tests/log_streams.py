"""Writing and reading one log stream in tests: `from log_streams import read, write, …`."""

from clary.base.clock import Instant
from clary.logs.port import LogStore

GROUP = "/aws/sagemaker/TrainingJobs"
STREAM = "job/algo-1-1699307977"
START = 1_700_000_000_000


def write(store: LogStore, *appends: tuple[int, list[str]], stream: str = STREAM) -> None:
    """Append messages at times given in milliseconds after START; the source offset counts messages."""
    writer = store.writer(GROUP, stream)
    offset = writer.resume_offset()
    for time, messages in appends:
        offset += len(messages)
        writer.append([m.encode() for m in messages], timestamp=Instant(START + time), source_offset=offset)
    writer.close()


def read(store: LogStore, **question) -> tuple[list[str], str, str]:
    for bound in ("start_time", "end_time"):
        if bound in question:
            question[bound] = Instant(START + question[bound])
    page = store.read(GROUP, question.pop("stream", STREAM), **question)
    return [event.message for event in page.events], page.forward_token, page.backward_token


def read_all(store: LogStore, **question) -> list[str]:
    messages, token, _ = read(store, from_head=True, **question)
    while True:
        more, following, _ = read(store, **question | {"token": token})
        if not more:
            assert token == following
            return messages
        messages += more
        token = following
