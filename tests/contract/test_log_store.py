"""What every log store promises. What only the one on files can promise: tests/unit/logs/test_log_files.py."""

import itertools

import pytest

from clary.base.clock import FixedClock, Instant
from clary.logs.files import FileLogStore
from clary.logs.memory import MemoryLogStore
from clary.logs.port import (
    MAX_PAGE_BYTES,
    MAX_PAGE_EVENTS,
    BadToken,
    LogStore,
    NoSuchGroup,
    NoSuchStream,
    StreamBusy,
    StreamOrder,
)
from clary.logs.tokens import event_id
from log_streams import GROUP, START, STREAM, read, read_all, write


@pytest.fixture
def clock():
    return FixedClock(START)


@pytest.fixture(params=["files", "small segments", "memory"])
def store(request, tmp_path, clock) -> LogStore:
    if request.param == "memory":
        return MemoryLogStore(clock)
    return FileLogStore(tmp_path / "logs", clock, segment_bytes=400 if request.param == "small segments" else 1 << 20)


class TestReading:
    def test_pages_lead_from_the_head_to_the_end_and_back(self, store):
        """Following the forward token gives every event once, in order; the backward token the same in reverse."""
        write(store, (0, ["a", "b", "c"]), (5, ["d"]), (9, ["e", "f", "g"]))

        assert list("abcdefg") == read_all(store)
        assert list("abcdefg") == read_all(store, limit=2)
        token, pages = None, []
        while True:
            messages, _, token = read(store, limit=3, token=token)
            if not messages:
                break
            pages.append("".join(messages))
        assert pages == ["efg", "bcd", "a"]

    def test_without_a_token_the_newest_page_is_given(self, store):
        """Unless the head is asked for."""
        write(store, (0, ["a", "b"]), (1, ["c"]))

        assert read(store, limit=2)[0] == ["b", "c"]
        assert read(store, limit=2, from_head=True)[0] == ["a", "b"]

    def test_the_forward_token_at_the_end_stays_the_same_and_later_gives_what_came(self, store):
        """Also when the stream was empty at first; SDK v3 keeps one token for the whole wait."""
        store.writer(GROUP, STREAM).close()
        messages, token, backward = read(store, from_head=True)
        assert messages == []
        assert ([], token, backward) == read(store, token=token)
        for time, message in enumerate("abc"):
            write(store, (time, [message]))
            messages, following, _ = read(store, token=token)
            assert [message] == messages
            assert read(store, token=following)[0] == []
            assert following == read(store, token=following)[1]
            token = following

    def test_the_backward_token_at_the_head_stays_the_same(self, store):
        """An empty page, again and again."""
        write(store, (0, ["a"]))
        _, _, token = read(store)

        messages, _, again = read(store, token=token)
        assert ([], token) == (messages, again)

    def test_tokens_do_not_move_under_appends(self, store):
        """A page asked for again is the same page."""
        write(store, (0, list("abcdef")))
        _, forward, backward = read(store, limit=2, token=read(store, limit=2, from_head=True)[1])
        write(store, (1, list("ghi")))

        assert read(store, limit=2, token=forward)[0] == ["e", "f"]
        assert read(store, limit=2, token=backward)[0] == ["a", "b"]

    def test_tokens_have_cloudwatch_s_form(self, store):
        """A letter, 56 digits, an s."""
        write(store, (0, ["a"]))
        _, forward, backward = read(store)

        for letter, token in (("f", forward), ("b", backward)):
            first, digits, last = token.split("/")
            assert (letter, 56, True, "s") == (first, len(digits), digits.isdigit(), last)

    @pytest.mark.parametrize("token", ["", "x", "f/1/s", f"g/{0:056d}/s", f"f/{0:056d}/s\n", f"f/{'٣' * 56}/s"])
    def test_a_foreign_token_is_refused(self, store, token):
        """Whatever is wrong with it."""
        write(store, (0, ["a"]))

        with pytest.raises(BadToken):
            read(store, token=token)

    def test_a_token_beyond_the_end_gives_an_empty_page(self, store):
        """It may stem from a stream that was deleted and made anew."""
        write(store, (0, ["a"]))

        assert read(store, token=f"f/{99:056d}/s")[0] == []
        assert read(store, token=f"b/{99:056d}/s")[0] == ["a"]

    def test_start_is_inclusive_and_end_exclusive(self, store):
        """Equal times stay together, across appends and segments."""
        write(store, (0, ["a"]), (5, ["b" * 300]), (5, ["c" * 300]), (5, ["d"]), (6, ["e"]), (8, ["f"]))

        def letters(**question):
            return "".join(message[0] for message in read(store, from_head=True, **question)[0])

        assert letters(start_time=5) == "bcdef"
        assert letters(start_time=6) == "ef"
        assert letters(start_time=7) == "f"
        assert letters(start_time=9) == ""
        assert letters(end_time=5) == "a"
        assert letters(end_time=6) == "abcd"
        assert letters(start_time=5, end_time=6) == "bcd"
        assert letters(start_time=-1, end_time=0) == ""
        assert letters(start_time=6, end_time=5) == ""
        assert "".join(m[0] for m in read(store, start_time=5, end_time=7, limit=3)[0]) == "cde"

    def test_a_time_range_holds_for_tokens_too(self, store):
        """SDK v2 sends startTime with each nextToken."""
        write(store, *((time, [str(time)]) for time in range(10)))

        assert [str(time) for time in range(3, 8)] == read_all(store, start_time=3, end_time=8, limit=2)
        _, _, backward = read(store, limit=2)
        assert read(store, start_time=6, limit=5, token=backward)[0] == ["6", "7"]

    def test_a_token_outside_the_time_range_stays_the_same(self, store):
        """An empty page moves no token, whichever bound made it empty."""
        write(store, *((time, [str(time)]) for time in range(10)))
        _, forward, backward = read(store, from_head=True, start_time=4, limit=2)

        assert read(store, token=forward, end_time=3)[:2] == ([], forward)
        assert read(store, token=backward, start_time=8)[::2] == ([], backward)

    def test_a_start_in_the_future_waits_for_what_comes(self, store):
        """The empty page's token gives the events from that time on."""
        write(store, (0, ["a"]))
        messages, token, _ = read(store, start_time=5, from_head=True)
        assert messages == []
        write(store, (4, ["b"]), (5, ["c"]))

        assert read(store, start_time=5, token=token)[0] == ["c"]

    def test_a_clock_set_back_does_not_reorder_the_stream(self, store):
        """The event gets the time of the one before, also after a restart of the writer."""
        write(store, (9, ["a"]), (3, ["b"]))
        write(store, (4, ["c"]), (10, ["d"]))

        page = store.read(GROUP, STREAM, from_head=True)
        assert [event.timestamp - START for event in page.events] == [9, 9, 9, 10]
        assert list("abc") == read(store, start_time=9, end_time=10, from_head=True)[0]

    def test_events_carry_number_and_ingestion_time(self, store, clock):
        """The number is the event's for ever; ids made of it are unique over streams."""
        write(store, (0, ["a", "b"]))
        clock.advance(2)
        write(store, (1, ["c"]))

        events = store.read(GROUP, STREAM).events
        assert [(e.number, e.ingestion_time) for e in events] == [(0, START), (1, START), (2, START + 2000)]
        ids = [event_id(GROUP, stream, n) for stream in ("a", "b") for n in range(3)]
        assert len(set(ids)) == 6
        assert all(len(each) == 56 and each.isdigit() for each in ids)

    def test_a_page_holds_at_most_10_000_events(self, store):
        """Whatever limit is given."""
        write(store, (0, ["x"] * 15_000), (1, ["y"]))

        assert len(read(store, from_head=True)[0]) == MAX_PAGE_EVENTS
        assert len(read(store, limit=20_000)[0]) == MAX_PAGE_EVENTS
        assert len(read_all(store)) == 15_001

    def test_a_page_holds_at_most_1_mib_yet_one_event_at_least(self, store):
        """Messages count in UTF-8, with 26 bytes each beside them."""
        big = "é" * (MAX_PAGE_BYTES // 2)
        write(store, (0, ["a" * 500_000, "é" * 250_000, "b" * 100_000]), (1, [big, "c"]))

        assert [m[0] for m in read(store, from_head=True)[0]] == ["a", "é"]
        assert [m[0] for m in read(store)[0]] == ["c"]
        assert [m[0] for m in read_all(store)] == ["a", "é", "b", "é", "c"]

    def test_text_comes_back_as_it_was(self, store):
        """Line separators of Unicode are no newlines."""
        messages = ["\x85\u2028", "🙂", "#011", " "]
        write(store, (0, messages))

        assert messages == read_all(store)

    def test_a_stream_is_there_from_its_writer_on(self, store):
        """With events or without; another is not."""
        assert not store.has_stream(GROUP, STREAM)
        store.writer(GROUP, STREAM).close()

        assert store.has_stream(GROUP, STREAM)
        assert not store.has_stream(GROUP, f"{STREAM}0")
        assert not store.has_stream(f"{GROUP}/other", STREAM)
        store.delete(GROUP, STREAM)
        assert not store.has_stream(GROUP, STREAM)

    def test_what_does_not_exist_is_said(self, store):
        """On a fresh account the group itself is missing, which clients ignore."""
        with pytest.raises(NoSuchGroup):
            store.read(GROUP, STREAM)
        with pytest.raises(NoSuchGroup):
            store.streams(GROUP, prefix="job/")
        assert store.groups().groups == ()
        store.writer(GROUP, STREAM).close()
        for other in ("job", "job/", "job/algo-2", "", "/", "..", "x" * 512, "job/../" + STREAM):
            with pytest.raises(NoSuchStream):
                store.read(GROUP, other)
        assert read(store)[0] == []


class TestWriting:
    def test_a_restarted_writer_goes_on_where_the_last_one_stopped(self, store):
        """The offset is that of the last append, and numbers go on."""
        writer = store.writer(GROUP, STREAM)
        assert writer.resume_offset() == 0
        writer.append([b"a"], timestamp=Instant(START), source_offset=10)
        writer.append([b"b" * 500], timestamp=Instant(START), source_offset=600)
        assert writer.resume_offset() == 600
        writer.close()
        for offset in (600, 601):
            writer = store.writer(GROUP, STREAM)
            assert offset == writer.resume_offset()
            writer.append([b"c"], timestamp=Instant(START), source_offset=offset + 1)
            writer.close()

        assert read_all(store) == ["a", "b" * 500, "c", "c"]

    def test_events_are_seen_when_append_returns(self, store):
        """Without sync or close."""
        writer = store.writer(GROUP, STREAM)
        writer.append([b"a"], timestamp=Instant(START), source_offset=1)

        assert read_all(store) == ["a"]
        writer.sync()
        writer.close()
        writer.close()

    def test_appending_nothing_notes_nothing(self, store):
        """The offset moves with events alone."""
        writer = store.writer(GROUP, STREAM)
        writer.append([], timestamp=Instant(START), source_offset=9)
        writer.close()

        assert store.writer(GROUP, STREAM).resume_offset() == 0

    @pytest.mark.parametrize(
        ("messages", "offset"),
        [([b""], 9), ([b"a", b""], 9), ([b"", b"a"], 9), ([b"a\nb"], 9), ([b"a\n"], 9), ([b"a"], 4)],
    )
    def test_what_would_spoil_the_stream_is_refused(self, store, messages, offset):
        """Empty messages, newlines within, and source bytes that are stored already."""
        writer = store.writer(GROUP, STREAM)
        writer.append([b"x"], timestamp=Instant(START), source_offset=5)

        with pytest.raises(ValueError):
            writer.append(messages, timestamp=Instant(START), source_offset=offset)
        writer.close()
        assert read_all(store) == ["x"]

    def test_a_stream_has_one_writer(self, store):
        """Until it is closed."""
        writer = store.writer(GROUP, STREAM)
        with pytest.raises(StreamBusy):
            store.writer(GROUP, STREAM)
        other = store.writer(GROUP, STREAM + "0")
        writer.close()
        store.writer(GROUP, STREAM).close()
        other.close()

    def test_a_deleted_stream_is_gone_and_can_be_made_anew(self, store):
        """Its group stays."""
        write(store, (0, ["a"]))
        writer = store.writer(GROUP, STREAM)
        with pytest.raises(StreamBusy):
            store.delete(GROUP, STREAM)
        writer.close()
        store.delete(GROUP, STREAM)

        assert store.streams(GROUP).streams == ()
        with pytest.raises(NoSuchStream):
            read(store)
        with pytest.raises(NoSuchStream):
            store.delete(GROUP, STREAM)
        write(store, (0, ["b"]))
        assert read_all(store) == ["b"]


NAMES = [
    "a",
    "a-b/x",
    "a/",
    "a//b",
    "a/b",
    "a/b/c",
    "a/c",
    "a0",
    "a=",
    "job-1/algo-1",
    "job-10/algo-1",
    ".",
    "..",
    "é/ü",
    "%",
    "@x",
]


class TestListing:
    def test_a_stream_exists_as_soon_as_it_has_a_writer(self, store):
        """A host that stays silent has a stream too: SDK v3 waits for it."""
        writer = store.writer(GROUP, STREAM)

        (info,) = store.streams(GROUP, prefix="job/").streams
        assert (
            info.name,
            info.creation_time,
            info.first_event_time,
            info.last_event_time,
            info.last_ingestion_time,
        ) == (STREAM, START, None, None, None)
        writer.close()

    def test_a_stream_tells_its_times(self, store, clock):
        """Of creation, first and last event, last ingestion."""
        store.writer(GROUP, STREAM).close()
        clock.advance(1)
        write(store, (3, ["a" * 300]), (4, ["b" * 300]), (7, ["c"]))

        (info,) = store.streams(GROUP).streams
        assert (
            info.creation_time,
            info.first_event_time,
            info.last_event_time,
            info.last_ingestion_time,
        ) == (START, START + 3, START + 7, START + 1000)
        assert info.stored_bytes >= 601

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize(
        "prefix", ["", "a", "a/", "a//", "a/b", "a/b/", "job-1", "job-1/", "job-1/algo-1", "z", "z/y", "é/"]
    )
    @pytest.mark.parametrize("limit", [1, 3, 50])
    def test_streams_are_listed_by_name(self, store, prefix, limit, descending):
        """Every prefix, both directions, pages of any size; no token on the last page."""
        for name in NAMES:
            store.writer(GROUP, name).close()
        expected = sorted((name for name in NAMES if name.startswith(prefix)), reverse=descending)

        token, pages = None, []
        while True:
            page = store.streams(GROUP, prefix=prefix, descending=descending, limit=limit, token=token)
            pages.append([stream.name for stream in page.streams])
            token = page.token
            if token is None:
                break
        assert expected == list(itertools.chain(*pages))
        assert max(1, -(-len(expected) // limit)) == len(pages)

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 50])
    def test_streams_are_listed_by_their_last_event(self, store, limit, descending):
        """One without events is the oldest; equal times go by name."""
        store.writer(GROUP, "z").close()
        for name, time in (("d", 1), ("c", 5), ("b", 5), ("a", 3)):
            write(store, (time, ["x"]), stream=name)

        token, found = None, []
        while True:
            page = store.streams(
                GROUP, order_by=StreamOrder.LAST_EVENT_TIME, descending=descending, limit=limit, token=token
            )
            found += [stream.name for stream in page.streams]
            token = page.token
            if token is None:
                break
        assert (list("cbadz") if descending else list("zdabc")) == found

    def test_a_page_goes_on_where_it_was_when_streams_come_and_go(self, store):
        """Even if the last stream of the page before is gone."""
        for name in "acdf":
            store.writer(GROUP, name).close()
        token = store.streams(GROUP, limit=2).token
        store.delete(GROUP, "c")
        store.writer(GROUP, "b").close()
        store.writer(GROUP, "e").close()

        assert list("def") == [stream.name for stream in store.streams(GROUP, token=token).streams]

    @pytest.mark.parametrize("token", ["x", "", "é", "W10=", "WzFd"])
    def test_a_foreign_token_is_refused(self, store, token):
        """For streams and groups."""
        store.writer(GROUP, STREAM).close()

        with pytest.raises(BadToken):
            store.streams(GROUP, token=token)
        with pytest.raises(BadToken):
            store.groups(token=token)

    def test_groups_are_listed_by_name(self, store):
        """With prefix and pages."""
        for group in ("/aws/b", "/aws/a", "x", "/aws/c"):
            store.writer(group, STREAM).close()

        page = store.groups(prefix="/aws/", limit=2)
        assert [(g.name, g.creation_time) for g in page.groups] == [("/aws/a", START), ("/aws/b", START)]
        page = store.groups(prefix="/aws/", limit=2, token=page.token)
        assert ([group.name for group in page.groups], page.token) == (["/aws/c"], None)
