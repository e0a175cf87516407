"""From the bytes of a training program to the messages of its log stream. Pure: no clock, no file.

Called by the instance, which reads stdout and stderr in blocks. A message is what one CloudWatch event carries: UTF-8,
never empty, without a newline or any other control character, so that messages can be joined and split at newlines
everywhere below. Storing them is the business of `port`, looking for metrics that of `metric_definitions`.

What a message looks like:

- Control characters become `#` and three octal digits (TAB `#011`, CR `#015`, ESC `#033`), as the metric regexes of
  AWS's own images expect. Source: CreateTrainingJob captures with `#011` in MetricDefinitions.
- One carriage return directly before the newline belongs to the line's end and is dropped: a pseudo-terminal puts it
  there, and no published line shows it (inferred).
- Bytes that are no UTF-8 become U+FFFD (inferred).
- An empty line becomes one space: CloudWatch refuses empty messages, and published notebooks show the blank lines
  (inferred).
- A line of more than MAX_LINE_BYTES is cut into several events, never inside a character (inferred).
"""

MAX_LINE_BYTES = 256 * 1024 - 26
"""Longest piece of a line in one event, in raw bytes before escaping: 256 KiB less CloudWatch's 26 bytes an event.

Escaping may make four bytes of one, so a message has at most 1 MiB, which is what a page of GetLogEvents may carry.
"""

_CONTROL = bytes((*range(0x0A), *range(0x0B, 0x20), 0x7F))
_NOT_CONTROL = bytes(set(range(256)) - set(_CONTROL))
_ESCAPES = {code: (bytes((code,)), b"#%03o" % code) for code in _CONTROL}


def escape(text: bytes) -> bytes:
    """Replace each control character but newline by `#` and three octal digits."""
    for code in set(text.translate(None, _NOT_CONTROL)):
        text = text.replace(*_ESCAPES[code])
    return text


class LineSplitter:
    r"""Cuts a stream of bytes, fed in blocks of any size, into messages.

    The messages depend on the bytes alone and not on where blocks begin. `offset` says how many bytes of the source
    have become messages, so a reader that stores it with them can start again there: a line (or a piece of an overlong
    one) is never given twice and never in part. The newline that ends a line belongs to it.
    """

    def __init__(self, offset: int = 0) -> None:
        self._offset = offset
        self._pending = b""

    @property
    def offset(self) -> int:
        """Bytes of the source up to the end of the last message given out."""
        return self._offset

    def feed(self, block: bytes) -> list[bytes]:
        """The messages that `block` completes."""
        end = block.rfind(b"\n") + 1
        if end == 0:
            self._pending += block
            return self._overlong()
        lines = self._pending + block[:end]
        self._pending = block[end:]
        self._offset += len(lines)
        return _messages(lines) + self._overlong()

    def flush(self) -> list[bytes]:
        """The last line, which no newline ended; nothing if there is none."""
        line, self._pending = self._pending, b""
        self._offset += len(line)
        return _messages(line + b"\n", ends_line=False) if line else []

    def _overlong(self) -> list[bytes]:
        """Pieces of a line that is too long already, so that a program without newlines cannot fill the memory."""
        pieces: list[bytes] = []
        # Two more bytes than fit: a line that is exactly full may still end in CR LF, and then is not cut.
        while len(self._pending) >= MAX_LINE_BYTES + 2:
            cut = _cut_before(self._pending)
            pieces += _messages(self._pending[:cut] + b"\n", ends_line=False)
            self._pending = self._pending[cut:]
            self._offset += cut
        return pieces


def _messages(lines: bytes, *, ends_line: bool = True) -> list[bytes]:
    """Messages of whole lines, each ended by a newline; without `ends_line`, of a piece out of a line's middle."""
    if ends_line and b"\r\n" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    if len(lines) > MAX_LINE_BYTES:
        lines = b"".join(piece + b"\n" for line in lines[:-1].split(b"\n") for piece in _pieces(line))
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError:
            lines = lines.decode(errors="replace").encode()
    messages = escape(lines).split(b"\n")
    messages.pop()
    return messages if all(messages) else [message or b" " for message in messages]


def _pieces(line: bytes) -> list[bytes]:
    pieces = []
    while len(line) > MAX_LINE_BYTES:
        cut = _cut_before(line)
        pieces.append(line[:cut])
        line = line[cut:]
    return [*pieces, line]


def _cut_before(line: bytes) -> int:
    """Where to cut an overlong line: at the limit, or before the UTF-8 character that stands across it."""
    for cut in range(MAX_LINE_BYTES, MAX_LINE_BYTES - 4, -1):
        if line[cut] & 0xC0 != 0x80:
            return cut
    return MAX_LINE_BYTES
