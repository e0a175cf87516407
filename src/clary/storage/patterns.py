"""How somebody reads: through a file, or here and there in it; one file after the other, or any. Pure.

Asked by `read_ahead`, which asks for bytes before they are wanted. A wrong guess costs bytes that nobody reads, so that
guesses begin small and grow with what was read in a row.
"""

from collections import OrderedDict

SLACK_BYTES = 1024 * 1024
"""How far apart the requests of one reader may come: the kernel sends several at once, and they are served in any order."""

_GROWS_AFTER = 128 * 1024
_WINDOW_FIRST = 1024 * 1024
_AHEAD_AT_MOST = 32
_RUNS_AT_MOST = 64


class Pattern:
    """How one open file is read. `next` is the end of what was read; `window` how many bytes after it are worth having."""

    def __init__(self, window_at_most: int) -> None:
        self.next = 0
        self.window = 0
        self._at_most = window_at_most
        self._in_a_row = 0
        self._fresh = True

    def read(self, start: int, end: int) -> bool:
        """Take note of a read; whether it goes on where the last ones were, or begins the file."""
        goes_on = self.next - SLACK_BYTES <= start <= self.next + SLACK_BYTES
        if not goes_on:
            self.next, self.window, self._in_a_row = end, 0, 0
        elif self._fresh:
            self.next = end
        elif end > self.next:
            self._in_a_row += end - start  # without the gap: small jumps in one place are no reading on
            self.next = end
            if self._in_a_row >= max(_GROWS_AFTER, self.window // 2):
                self.window = min(max(_WINDOW_FIRST, 2 * self.window), self._at_most)
                self._in_a_row = 0
        self._fresh = False
        return goes_on


class Runs:
    """Files that are opened in the order of their numbers, by several readers at once."""

    def __init__(self) -> None:
        self._expected: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def opened(self, number: int) -> tuple[int, int]:
        """Which files are worth having now: those after a number, and how many of them.

        None for the first of a run; then twice as many as have been opened in a row.
        """
        length, horizon = self._expected.pop(number, (0, number))
        ahead = min(2 * length, _AHEAD_AT_MOST)
        last = max(horizon, number + ahead, number)
        self._expected[number + 1] = (length + 1, last)
        while len(self._expected) > _RUNS_AT_MOST:
            self._expected.popitem(last=False)
        horizon = max(horizon, number)
        return horizon, last - horizon
