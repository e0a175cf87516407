"""The logs of a training job: a stream's newest lines, live while it runs; lines before them; lines that hold a text; all.

Parameters: stream (its name, or "all" for those of all hosts), filter, timestamps ("1"), token (of a later page of lines
that were searched). Fragments: `part=lines` with `before` or `after`, tokens of the page that is open.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from clary.base.clock import Instant
from clary.console import log_lines, paths
from clary.console.contexts import JobHead, LogLines, LogsPage, LogStream
from clary.console.job_head import POLL_S, job_frame, job_head
from clary.console.log_lines import Lines, Stream
from clary.console.visit import NoSuchPage, Visit

ALL = "all"
"""In place of a stream's name. No stream is called so: there is a slash in each name."""


async def logs_page(visit: Visit, name: str) -> LogsPage | LogLines | None:
    """The page, or a fragment of it; None if that has nothing new."""
    # First the status, then the lines: of a job that has ended all lines are there.
    described = await visit.describe_job(name)
    head = job_head(described, "Logs")
    streams = await log_lines.streams_of(visit.ask, name, head.creation_time)
    shown = _Shown(visit, head, streams, _chosen(visit, streams))
    if visit.query.get("part") == "lines":
        return await shown.fragment()
    return await shown.page()


async def log_file(visit: Visit, name: str) -> tuple[str, AsyncIterator[bytes]]:
    """A stream as plain text: the name of its file, and its content. Parameters: stream, timestamps."""
    described = await visit.describe_job(name)
    streams = await log_lines.streams_of(visit.ask, name, job_head(described, "Logs").creation_time)
    stream = _chosen(visit, streams)
    if not isinstance(stream, Stream):
        raise NoSuchPage(f"The training job {name} has no such log stream.")
    timestamps = visit.query.get("timestamps") == "1"
    content = log_lines.whole(visit.ask, stream.name, until=visit.now, timestamps=timestamps)
    return f"{stream.name.replace('/', '-')}.txt", content


def _chosen(visit: Visit, streams: tuple[Stream, ...]) -> Stream | str | None:
    """The stream that is asked for, or the first; `ALL`; None if there is none yet. Raises `NoSuchPage`."""
    asked = visit.query.get("stream")
    if not streams or (asked == ALL and len(streams) > 1):
        return ALL if streams else None
    if asked is None or asked == ALL:
        return streams[0]
    for stream in streams:
        if stream.name == asked:
            return stream
    raise NoSuchPage(f"There is no log stream {asked} of this training job.")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a page shows: `chosen` of all `streams`."""

    visit: Visit
    head: JobHead
    streams: tuple[Stream, ...]
    chosen: Stream | str | None

    async def page(self) -> LogsPage:
        """The whole page."""
        name, text, one = self.head.name, self._filter, self.chosen
        is_waiting = one is None and self.head.is_under_way
        return LogsPage(
            page=job_frame(self.visit, name, "Logs"),
            head=self.head,
            streams=self._entries(),
            stream=self._stream,
            action=paths.job(name, "logs"),
            filter=text,
            timestamps=self._timestamps,
            lines=await self._first_lines(),
            download_path=self._path("log.txt", filter=None) if isinstance(one, Stream) else None,
            timestamps_path=self._path("logs", timestamps=None if self._timestamps else "1"),
            clear_path=self._path("logs", filter=None),
            wait_path=self._path("logs") if is_waiting else None,
            poll_s=POLL_S if self.head.is_under_way else None,
        )

    async def fragment(self) -> LogLines | None:
        """Some lines that the page lacks; None if there are none yet."""
        query, stream = self.visit.query, self.chosen
        if not isinstance(stream, Stream):
            raise NoSuchPage("This log stream has no lines that could be added.")
        if "before" in query:
            return self._some(await log_lines.before(self.visit.ask, stream.name, query["before"]))
        if "after" not in query:
            return self._some(await log_lines.newest(self.visit.ask, stream.name), follow=True)
        found = await log_lines.after(self.visit.ask, stream.name, query["after"])
        if not found.lines and self.head.is_under_way:
            return None
        return self._some(found, follow=True, added=True)

    async def _first_lines(self) -> LogLines:
        if self.chosen is None:
            return LogLines(lines=(), timestamps=self._timestamps)
        if isinstance(self.chosen, Stream) and not self._filter:
            return self._some(await log_lines.newest(self.visit.ask, self.chosen.name), follow=True)
        found = await log_lines.search(
            self.visit.ask,
            (self.chosen,) if isinstance(self.chosen, Stream) else self.streams,
            self._filter,
            since=Instant(self.head.creation_time),
            prefix=f"{self.head.name}/",
            token=self.visit.query.get("token"),
        )
        return LogLines(
            lines=found.lines,
            timestamps=self._timestamps,
            later_path=None if found.following is None else self._path("logs", token=found.following),
            more_to_search=found.is_cut,
        )

    def _some(self, found: Lines, *, follow: bool = False, added: bool = False) -> LogLines:
        """Lines of a stream. `follow`: what comes after them is asked for; `added`: others stand above them."""
        follows = follow and (self.head.is_under_way or (added and bool(found.lines)))
        before = None if found.before is None else self._fragment(before=found.before)
        return LogLines(
            lines=found.lines,
            timestamps=self._timestamps,
            follow_path=self._fragment(after=found.after) if follows else None,
            poll_s=POLL_S if follows else None,
            earlier_path=None if added else before,
            before_path=before,
            skipped=found.skipped,
        )

    def _entries(self) -> tuple[LogStream, ...]:
        entries = [(stream.name, stream.host, stream) for stream in self.streams]
        if len(self.streams) > 1:
            entries.insert(0, (ALL, "All hosts", self.streams[0]))
        return tuple(
            LogStream(
                name=name,
                host=host,
                path=self._path("logs", stream=name),
                is_current=name == self._stream,
                first_event_time=stream.first_event_time,
                last_event_time=stream.last_event_time,
            )
            for name, host, stream in entries
        )

    @property
    def _stream(self) -> str | None:
        return self.chosen.name if isinstance(self.chosen, Stream) else self.chosen

    @property
    def _filter(self) -> str:
        return self.visit.query.get("filter", "")

    @property
    def _timestamps(self) -> bool:
        return self.visit.query.get("timestamps") == "1"

    def _path(self, further: str, **changes: str | None) -> str:
        """This page, or another one below the job, with the same parameters but for the changes."""
        shown: dict[str, Any] = {
            "stream": self._stream,
            "filter": self._filter,
            "timestamps": "1" if self._timestamps else None,
        }
        return paths.with_query(paths.job(self.head.name, further), **(shown | changes))

    def _fragment(self, **token: str) -> str:
        return self._path("logs", filter=None, part="lines", **token)
