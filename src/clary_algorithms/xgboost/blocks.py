"""Text files in blocks of whole lines, so that a file larger than memory is never held as text.

Used by the CSV and the libsvm reader.
"""

from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 8 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def blocks(path: Path, *, size_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield about `size_bytes` at a time: whole lines, each ended by one newline and no carriage return."""
    with path.open("rb") as file:
        rest = b""
        first = True
        while chunk := file.read(size_bytes):
            if first:
                chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
                first = False
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                rest += chunk
                continue
            yield _normal(rest + chunk[:end])
            rest = chunk[end:]
        if rest:
            yield _normal(rest + b"\n")


def first_line(path: Path) -> str:
    """The first line without its end, for a look at the format."""
    with path.open("rb") as file:
        line = file.readline(1 << 20).removeprefix(_BYTE_ORDER_MARK)
    return line.decode("utf-8", "replace").rstrip("\r\n")


def wrong_format(path: Path, name: str) -> str:
    """The words for a file that is not in the format called `name`."""
    return (
        f"First line '{first_line(path)[:50]}...' of file '{path.name}' is not '{name}' format. "
        f"Please ensure the file is in '{name}' format."
    )


def _normal(block: bytes) -> bytes:
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block
