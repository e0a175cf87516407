"""libsvm files to sparse arrays: `label[:weight] [qid:n] index:value ...`, indexes from 0.

Used by `matrices`. A block of lines is parsed at once: every number ends at one blank, colon or newline, and what a
number means follows from the mark before it.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clary_algorithms.container import CustomerError
from clary_algorithms.xgboost.blocks import blocks, wrong_format

_BLANK, _COLON, _NEWLINE = b" "[0], b":"[0], b"\n"[0]
_MARKS_TO_BLANK = bytes.maketrans(b":\n", b"  ")
#: Stands for `qid` while a block is parsed: a feature cannot have this index.
_QUERY_INDEX = -1


@dataclass(frozen=True, kw_only=True)
class SparseData:
    """Compressed rows: row i holds `values[row_ends[i]:row_ends[i + 1]]` in columns `indexes[...]`."""

    row_ends: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] | None
    query_ids: npt.NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True)
class _Part:
    counts: npt.NDArray[np.int64]
    indexes: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32] | None
    query_ids: npt.NDArray[np.int64] | None


def read_libsvm(files: Sequence[Path]) -> SparseData:
    """Read all files as one matrix. Raises `CustomerError` that names the file and the line at fault.

    Where some lines carry a weight, the others weigh 1; query ids stand on all lines or on none.
    """
    parts: list[_Part] = []
    for path in files:
        lines_before = 0
        for block in blocks(path):
            part = _parse(_tidy(block))
            if part is None:
                raise CustomerError(_explain(path, block, lines_before))
            parts.append(part)
            lines_before += block.count(b"\n")
    labels = np.concatenate([part.labels for part in parts])
    if not len(labels):
        raise CustomerError(f"No rows in file '{files[0].name}'")
    with_queries = [part.query_ids for part in parts if part.query_ids is not None]
    if 0 < sum(len(ids) for ids in with_queries) < len(labels):
        raise CustomerError("Some lines of the libsvm data have a qid and others have none")
    weights = None
    if any(part.weights is not None for part in parts):
        weights = np.concatenate(
            [np.ones(len(part.labels), np.float32) if part.weights is None else part.weights for part in parts]
        )
    counts = np.concatenate([part.counts for part in parts])
    return SparseData(
        row_ends=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        indexes=np.concatenate([part.indexes for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        labels=labels,
        weights=weights,
        query_ids=np.concatenate(with_queries) if with_queries else None,
    )


def _tidy(block: bytes) -> bytes:
    """Bring a block to one blank between words, no blank at a line's ends, no blank line, no comment, no word."""
    if b"#" in block:
        block = re.sub(rb"#[^\n]*", b"", block)
    if b"\t" in block:
        block = block.replace(b"\t", b" ")
    if b"  " in block:
        block = re.sub(rb" +", b" ", block)
    block = block.replace(b" \n", b"\n").replace(b"\n ", b"\n").replace(b" qid:", b" %d:" % _QUERY_INDEX)
    if b"\n\n" in block:
        block = re.sub(rb"\n+", b"\n", block)
    return block.lstrip(b" \n")


def _parse(block: bytes) -> _Part | None:
    """The block's rows, or None when a line of it is not in the format. Expects what `_tidy` returns."""
    text = np.frombuffer(block, np.uint8)
    marks = text[(text == _BLANK) | (text == _COLON) | (text == _NEWLINE)]
    before = np.concatenate([np.array([_NEWLINE], np.uint8), marks[:-1]])
    with warnings.catch_warnings():
        # numpy reports text that is no number as a deprecation; the count below finds it.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            numbers = np.fromstring(block.translate(_MARKS_TO_BLANK), np.float64, sep=" ")
        except ValueError:
            return None
    misplaced = ((before == marks) & (marks != _NEWLINE)) | ((before == _BLANK) & (marks == _NEWLINE))
    if len(numbers) != len(marks) or misplaced.any():
        return None
    is_index = before == _BLANK
    is_label = before == _NEWLINE
    is_weight = np.zeros(len(marks), bool)
    is_weight[1:] = is_label[:-1] & (marks[:-1] == _COLON)
    is_value = (before == _COLON) & ~is_weight
    indexes = numbers[is_index].astype(np.int64)
    if (indexes != numbers[is_index]).any() or (indexes < _QUERY_INDEX).any():
        return None
    line = np.cumsum(is_label) - 1
    values, index_line, rows = numbers[is_value], line[is_index], int(is_label.sum())
    weights = None
    if is_weight.any():
        weights = np.ones(rows, np.float32)
        weights[line[is_weight]] = numbers[is_weight]
    query_ids = None
    is_query = indexes == _QUERY_INDEX
    if is_query.any():
        if len(np.unique(index_line[is_query])) != is_query.sum():
            return None
        query_ids = values[is_query].astype(np.int64)
        indexes, values, index_line = indexes[~is_query], values[~is_query], index_line[~is_query]
    return _Part(
        counts=np.bincount(index_line, minlength=rows).astype(np.int64),
        indexes=indexes,
        values=values.astype(np.float32),
        labels=numbers[is_label].astype(np.float32),
        weights=weights,
        query_ids=query_ids,
    )


def _explain(path: Path, block: bytes, lines_before: int) -> str:
    """Find the line that broke the block, one line at a time: slow, and only on the way to a failure."""
    for number, line in enumerate(block.splitlines(keepends=True), lines_before + 1):
        tidy = _tidy(line)
        if tidy and _parse(tidy) is None:
            if number == 1:
                break
            shown = line.decode("utf-8", "replace").rstrip()[:50]
            return f"Failed to load libsvm data: file '{path.name}', line {number}: '{shown}...'"
    return wrong_format(path, "LIBSVM")
