"""Reading bodies of any size from callers of any manners."""

import asyncio

import pytest

from clary.aws import body as body_module
from clary.aws.body import DRAIN_BYTES, Disconnected, read_body
from clary.aws.errors import AwsError


class Caller:
    """Sends its messages one by one and counts what was taken."""

    def __init__(self, *messages):
        self.messages = list(messages)

    async def __call__(self):
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


def read(caller, headers=None, limit=10):
    return asyncio.run(read_body(caller, headers or {}, limit))


def test_parts_are_joined_up_to_the_limit():
    """A body of exactly the limit is good."""
    assert read(Caller(part(b"12345"), part(b"67890", more=False))) == b"1234567890"
    assert read(Caller({"type": "http.request"})) == b""


@pytest.mark.parametrize("size", [10, 11])
def test_a_body_that_has_arrived_is_held_to_the_limit_as_well(size):
    """Only the clock is left out."""
    reading = read_body(Caller(part(b"x" * size, more=False)), {}, 10, is_whole=True)
    if size == 10:
        assert asyncio.run(reading) == b"x" * size
    else:
        with pytest.raises(AwsError, match="larger than 10 bytes"):
            asyncio.run(reading)


def test_a_byte_more_is_refused_after_the_whole_was_taken():
    """The rest is read and thrown away, so that the caller hears the answer."""
    caller = Caller(part(b"1" * 11), part(b"2" * 100), part(b"", more=False))
    with pytest.raises(AwsError) as refused:
        read(caller)
    assert (refused.value.code, refused.value.http_status) == ("RequestEntityTooLargeException", 413)
    assert not caller.messages


def test_draining_has_an_end():
    """Who sends without end is cut off after the drain limit."""
    caller = Caller(*[part(b"x" * (4 << 20)) for _ in range(100)])
    with pytest.raises(AwsError):
        read(caller)
    assert len(caller.messages) > 90


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-length": str(DRAIN_BYTES + 1).encode()},
        {b"content-length": b"11", b"expect": b"100-continue"},
    ],
)
def test_a_declared_size_is_refused_before_anything_is_read(headers):
    """Gigabytes by Content-Length, and too much by a caller who asks first."""
    caller = Caller(part(b"1"))
    with pytest.raises(AwsError) as refused:
        read(caller, headers)
    assert refused.value.http_status == 413
    assert len(caller.messages) == 1


def test_a_nonsense_length_changes_nothing():
    """What was sent counts, not what was said."""
    assert read(Caller(part(b"1", more=False)), {b"content-length": b"many"}) == b"1"


def test_a_caller_who_hangs_up_is_not_answered():
    """Half a body is no request."""
    with pytest.raises(Disconnected):
        read(Caller(part(b"1"), {"type": "http.disconnect"}))


def test_a_caller_who_stalls_is_given_up(monkeypatch):
    """A connection that sends nothing more does not hold us for ever."""
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.01)
    with pytest.raises(AwsError) as refused:
        read(Caller(part(b"1")))
    assert refused.value.code == "RequestTimeoutException"
