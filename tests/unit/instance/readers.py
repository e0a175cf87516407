"""Readers of Pipe mode channels with the habits of those that users have.

Each answers what it read of one epoch. They stand for: `open` in a training program; MLIO's SageMaker pipe stream (opens
without blocking, waits with a time limit); SageMaker's TensorFlow extensions (looks for the file with growing sleeps);
MXNet's RecordIO reader. Source of the habits: input-data facts, Pipe mode.
"""

import os
import select
import struct
import time
from pathlib import Path

PATIENCE_S = 60


def plain(path):
    """open().read(), as soon as the FIFO is there: it blocks until somebody writes, and ends with its end."""
    return polled(path, pauses=(0.01,))


def polled(path, pauses=(0.01, 0.02, 0.03, 0.04)):
    """As TensorFlow's reader: look, sleep, look again, sleep for longer."""
    pauses = list(pauses)
    deadline = time.monotonic() + PATIENCE_S
    while not Path(path).exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])  # the habit that is tested
    with Path(path).open("rb") as file:
        return file.read()


def without_blocking(path, *, timeout_s=PATIENCE_S, block=1 << 16):
    """As MLIO: opening succeeds without a writer, then select() waits for data."""
    deadline = time.monotonic() + timeout_s
    while not Path(path).exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)  # as above
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    data = bytearray()
    try:
        while True:
            ready, _, _ = select.select([fd], [], [], timeout_s)
            if not ready:
                raise TimeoutError("SageMaker pipe channel timed out")
            piece = os.read(fd, block)
            if not piece:
                return bytes(data)
            data += piece
    finally:
        os.close(fd)


def records(data):
    """As MXNet's reader: the payloads of RecordIO, parts joined."""
    found, parts, at = [], [], 0
    while at < len(data):
        magic, word = struct.unpack_from("<II", data, at)
        assert magic == 0xCED7230A
        flag, length = word >> 29, word & (1 << 29) - 1
        payload = bytes(data[at + 8 : at + 8 + length])
        assert len(payload) == length
        at += 8 + length + -length % 4
        assert (flag in (0, 1)) == (not parts)
        parts.append(payload)
        if flag in (0, 3):
            found.append(b"".join(parts))
            parts = []
    assert (at, parts) == (len(data), [])
    return found
