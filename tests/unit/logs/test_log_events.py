"""Bytes to messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.logs.events import MAX_LINE_BYTES, LineSplitter, escape


def split(*blocks: bytes) -> list[bytes]:
    splitter = LineSplitter()
    messages = [message for block in blocks for message in splitter.feed(block)]
    return messages + splitter.flush()


@pytest.mark.parametrize(
    ("source", "messages"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"[1]\ttrain-rmse:0.5\n", [b"[1]#011train-rmse:0.5"]),
        (b"\x1b[31mred\x1b[0m\n", [b"#033[31mred#033[0m"]),
        (b"10%\r20%\r\n", [b"10%#01520%"]),
        (b"10%\r", [b"10%#015"]),
        (b"a\r\r\n", [b"a#015"]),
        (b"\0\x7f\x0b\n", [b"#000#177#013"]),
        (b"\n\na\n\r\n", [b" ", b" ", b"a", b" "]),
        (b"\xff\xfe caf\xc3\xa9 \xe2\x82\n", ["\ufffd\ufffd café \ufffd".encode()]),
        (b"\xed\xa0\x80\n", ["\ufffd\ufffd\ufffd".encode()]),
        ("x\x85y\u2028z\n".encode(), ["x\x85y\u2028z".encode()]),
    ],
)
def test_lines_become_messages_as_cloudwatch_shows_them(source, messages):
    """Each row is the source and what it becomes."""

    assert messages == split(source)


def test_every_control_character_but_newline_is_escaped():
    """The form is a hash and three octal digits."""

    for code in (*range(0x20), 0x7F):
        if code != 0x0A:
            assert b"a#%03ob" % code == escape(b"a%cb" % code)
    assert escape(b"\n") == b"\n"


def test_a_line_of_the_limit_is_one_message_and_a_longer_one_is_cut():
    """The carriage return of the line's end does not count."""

    full = b"x" * MAX_LINE_BYTES

    assert [full] == split(full + b"\r\n")
    assert [full, b"y"] == split(full + b"y\r\n")
    assert [full, b"y"] == split(full + b"y")


def test_a_cut_never_goes_through_a_character():
    """The character that stands across the limit goes to the next message."""
    line = "x" * (MAX_LINE_BYTES - 1) + "é" * 10

    assert [m.decode() for m in split(line.encode() + b"\n")] == ["x" * (MAX_LINE_BYTES - 1), "é" * 10]


def test_a_program_that_never_ends_its_line_does_not_fill_the_memory():
    """Pieces are given out as soon as they are full, and `offset` says how far the source is used."""
    splitter = LineSplitter()
    given_out = sum(len(splitter.feed(b"z" * 100_000)) for _ in range(30))

    assert given_out == 3_000_000 // MAX_LINE_BYTES
    assert splitter.offset == given_out * MAX_LINE_BYTES


@st.composite
def sources(draw):
    parts = st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"\n", b"\r\n", b"\t", b"\xc3\xa9", b"\xe2\x82\xac", b"\xff"]),
        st.integers(MAX_LINE_BYTES - 4, MAX_LINE_BYTES + 4).map(lambda n: b"x" * n),
        st.integers(MAX_LINE_BYTES // 3 - 2, MAX_LINE_BYTES).map(lambda n: "€".encode() * n),
    )
    return b"".join(draw(st.lists(parts, max_size=6)))


@settings(deadline=None)
@given(sources(), st.lists(st.integers(1, 400_000), max_size=6))
def test_messages_do_not_depend_on_where_blocks_begin(source, sizes):
    """Any way to cut the source gives the same messages, and the offset ends at its end."""
    splitter, messages, rest = LineSplitter(), [], source
    for size in sizes:
        messages += splitter.feed(rest[:size])
        rest = rest[size:]
    messages += splitter.feed(rest) + splitter.flush()

    assert split(source) == messages
    assert splitter.offset == len(source)
    assert all(messages)


@settings(deadline=None)
@given(sources(), st.lists(st.integers(1, 400_000), max_size=6), st.integers(0, 6))
def test_a_reader_that_starts_again_at_the_offset_gets_the_rest(source, sizes, crash_after):
    """Whatever was fed before, the messages before and after the restart are those of one run."""
    splitter, messages, position = LineSplitter(), [], 0
    for size in sizes[:crash_after]:
        messages += splitter.feed(source[position : position + size])
        position += size
    again = LineSplitter(splitter.offset)
    messages += again.feed(source[splitter.offset :]) + again.flush()

    assert split(source) == messages
    assert again.offset == len(source)
