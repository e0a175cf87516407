"""CSV files to arrays: no header, the label first, an instance weight second if asked for, empty cells missing.

Used by `matrices`. Numbers are parsed by numpy's C reader, a block of lines at a time.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clary_algorithms.container import CustomerError, log
from clary_algorithms.xgboost.blocks import blocks, first_line, wrong_format

Floats = npt.NDArray[np.float32]

#: In the order of preference: the first of them that the first line holds. Source: inferred, the container sniffs.
_DELIMITERS = (",", "\t", ";", "|", " ")


@dataclass(frozen=True, kw_only=True)
class DenseData:
    """`features` has a row an instance; NaN is a missing value."""

    features: Floats
    labels: Floats
    weights: Floats | None


def read_csv(files: Sequence[Path], *, weighted: bool) -> DenseData:
    """Read all files as one table. Raises `CustomerError` that names the file and the line at fault."""
    delimiter = sniff_delimiter(first_line(files[0]))
    log(f"Determined delimiter of CSV input is '{delimiter}'")
    parts: list[Floats] = []
    for path in files:
        for part in _parts(path, delimiter):
            if parts and part.shape[1] != parts[0].shape[1]:
                raise CustomerError(
                    f"File '{path.name}' has {part.shape[1]} columns where the data before it have {parts[0].shape[1]}"
                )
            parts.append(part)
    if not parts:
        raise CustomerError(f"No rows in file '{files[0].name}'")
    leading = 2 if weighted else 1
    columns = parts[0].shape[1] - leading
    if columns < 1:
        raise CustomerError(f"File '{files[0].name}' has no feature columns")
    rows = sum(len(part) for part in parts)
    head = np.empty((rows, leading), np.float32)
    features = np.empty((rows, columns), np.float32)
    at = 0
    parts.reverse()
    while parts:  # each part is given back once copied: the table is held about once, not twice
        part = parts.pop()
        head[at : at + len(part)] = part[:, :leading]
        features[at : at + len(part)] = part[:, leading:]
        at += len(part)
    return DenseData(features=features, labels=head[:, 0].copy(), weights=head[:, 1].copy() if weighted else None)


def sniff_delimiter(line: str) -> str:
    """What stands between the cells of this first line. Raises `CustomerError` when nothing does."""
    for delimiter in _DELIMITERS:
        if delimiter in line.strip():
            return delimiter
    raise CustomerError(f"Could not determine delimiter on line {line[:50]}")


def _parts(path: Path, delimiter: str) -> Iterator[Floats]:
    lines_before = 0
    for block in blocks(path):
        filled = block if delimiter == " " else fill_empty(block, delimiter.encode())
        if filled.strip():
            try:
                yield np.loadtxt(
                    filled.decode("latin-1").split("\n"),
                    np.float32,
                    comments=None,
                    delimiter=None if delimiter == " " else delimiter,
                    ndmin=2,
                )
            except ValueError as error:
                raise CustomerError(_explain(path, lines_before, str(error))) from None
        lines_before += block.count(b"\n")


def fill_empty(block: bytes, delimiter: bytes) -> bytes:
    """Write `nan` into every empty cell of whole lines; blank lines stay blank."""
    for blank in (b" ", b"\t"):
        if blank != delimiter and blank in block:
            block = block.replace(blank, b"")
    twice = delimiter * 2
    while twice in block:
        block = block.replace(twice, delimiter + b"nan" + delimiter)
    if block.startswith(delimiter):
        block = b"nan" + block
    block = block.replace(b"\n" + delimiter, b"\nnan" + delimiter)
    return block.replace(delimiter + b"\n", delimiter + b"nan\n")


def _explain(path: Path, lines_before: int, error: str) -> str:
    """Words of numpy with the file's line in place of the block's row; blank lines are not counted."""
    row = re.search(r"at row (\d+)", error)
    if row is None or (lines_before == 0 and row[1] == "0"):
        return wrong_format(path, "CSV")
    what = error.partition(f" {row[0]}")[0]
    # numpy counts rows from 0 for a cell that it cannot read, and from 1 for a row of another length.
    line = lines_before + int(row[1]) + (1 if what.startswith("could not convert") else 0)
    return f"Failed to load csv data: file '{path.name}', line {line}: {what}"
