"""How far a download is, in numbers and in words for the StatusMessage. Called by `stage_channels` and `restore_checkpoints`."""

from collections import deque

from clary.jobs.status import MESSAGES, SecondaryStatus
from clary.jobs.task import ChannelProgress
from clary.storage.transfer import Progress

DOWNLOADING_MESSAGE = MESSAGES[SecondaryStatus.DOWNLOADING]
_PACE_OVER_S = 10.0
_PACE_AFTER_S = 1.0


class Pace:
    """How fast bytes come in, over the last seconds: a rate over the whole time would not tell of a store that slows down."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def bytes_per_s(self, bytes_done: int, now_s: float) -> float | None:
        """The rate, given how many bytes there are now; None while it is too early to say."""
        self._seen.append((now_s, bytes_done))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - _PACE_OVER_S:
            self._seen.popleft()
        since_s, before = self._seen[0]
        return (bytes_done - before) / (now_s - since_s) if now_s - since_s >= _PACE_AFTER_S else None


def channel_progress(channel_name: str, progress: Progress, bytes_per_s: float | None) -> ChannelProgress:
    """How far the channel is, for the report."""
    return ChannelProgress(
        channel_name=channel_name,
        objects_done=progress.objects_done,
        objects_total=progress.objects_total,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        bytes_per_s=bytes_per_s,
    )


def progress_message(channel_name: str, progress: Progress, bytes_per_s: float | None = None) -> str:
    """The StatusMessage while a channel comes in; it begins with SageMaker's own. Rate and time left end it, once known."""
    size = f"{_size(progress.bytes_done)} of {_size(progress.bytes_total)}"
    pace = "" if bytes_per_s is None else f", {_size(round(bytes_per_s))}/s"
    if bytes_per_s and progress.bytes_done < progress.bytes_total:
        pace += f", {_duration((progress.bytes_total - progress.bytes_done) / bytes_per_s)} left"
    return (
        f"{DOWNLOADING_MESSAGE}: channel {channel_name}, {progress.objects_done} of {progress.objects_total} objects, "
        f"{size}{pace}"
    )


def _duration(seconds: float) -> str:
    """A time as people read it: its two largest units."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _size(size_bytes: int) -> str:
    """A number of bytes as people read it: three digits or so."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
