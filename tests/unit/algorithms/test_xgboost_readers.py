"""The CSV and libsvm readers against plain Python, on whole files and on blocks of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary_algorithms.container import CustomerError
from clary_algorithms.xgboost import blocks as blocks_module
from clary_algorithms.xgboost.csv_data import fill_empty, read_csv, sniff_delimiter
from clary_algorithms.xgboost.libsvm_data import read_libsvm


@pytest.fixture
def file(tmp_path):
    def write(content: str | bytes, name: str = "data"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("line", "delimiter"), [("1,2", ","), ("1\t2 3", "\t"), ("1;2", ";"), ("1|2", "|"), ("1 2", " ")]
)
def test_sniffing(line, delimiter):
    """The first line decides what separates cells."""
    assert sniff_delimiter(line) == delimiter


def test_sniffing_needs_two_cells():
    """One cell shows no delimiter, which is an error as in the container."""
    with pytest.raises(CustomerError, match="Could not determine delimiter on line 12"):
        sniff_delimiter("12")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_missing_values(file, separator, end):
    """Empty cells, blank cells and nan are missing values, in every column and with either line end."""
    rows = ["1,,2,", "0, ,nan,4", "", "1,,,"]
    data = read_csv([file(end.join(rows).replace(",", separator))], weighted=False)
    nan = np.nan
    np.testing.assert_array_equal(data.labels, [1, 0, 1])
    np.testing.assert_array_equal(data.features, [[nan, 2, nan], [nan, nan, 4], [nan, nan, nan]])
    assert data.weights is None


def test_csv_weights(file):
    """With csv_weights the second column weighs the rows and is no feature."""
    data = read_csv([file("1,0.5,7\n0,2,8\n")], weighted=True)
    np.testing.assert_array_equal(data.weights, np.array([0.5, 2], np.float32))
    np.testing.assert_array_equal(data.features, [[7], [8]])


def test_csv_words(file):
    """Runs of blanks separate too, and a byte order mark is no part of the first number."""
    data = read_csv([file(b"\xef\xbb\xbf1  2   3\n0 4 5\n")], weighted=False)
    np.testing.assert_array_equal(data.features, [[2, 3], [4, 5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("y,x\n1,2\n", "First line 'y,x...' of file 'data' is not 'CSV' format"),
        ("1,2\n1,2\n3\n", "file 'data', line 3: the number of columns changed from 2 to 1"),
        ("1,2\n\x00,2\n", "file 'data', line 2: could not convert string"),
        ("1,2\n1,2,\n", "line 2: the number of columns changed from 2 to 3"),
        ('"1","2"\n', "First line"),
        ("\n\n", "Could not determine delimiter"),
    ],
)
def test_csv_errors(file, content, message):
    """The failure names the file and the line."""
    with pytest.raises(CustomerError) as error:
        read_csv([file(content)], weighted=False)
    assert message in str(error.value)


def test_csv_files_agree_on_columns(file):
    """A file with another number of columns is named."""
    with pytest.raises(CustomerError, match="File 'b' has 3 columns where the data before it have 2"):
        read_csv([file("1,2\n", "a"), file("1,2,3\n", "b")], weighted=False)


@given(
    rows=st.lists(
        st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    ),
    size=st.integers(1, 60),
    end=st.booleans(),
)
def test_csv_in_blocks(tmp_path_factory, rows, size, end):
    """Any table comes back, wherever the blocks end, with or without a last newline."""
    text = "\n".join("1," + ",".join("" if cell is None else repr(cell) for cell in row) for row in rows)
    path = tmp_path_factory.mktemp("csv") / "data"
    path.write_text(text + ("\n" if end else ""))
    parts = [fill_empty(block, b",").decode() for block in blocks_module.blocks(path, size_bytes=size)]
    expected = [[1.0] + [np.nan if cell is None else cell for cell in row] for row in rows]
    found = [[float(cell) for cell in line.split(",")] for part in parts for line in part.splitlines()]
    np.testing.assert_array_equal(found, expected)


def test_libsvm(file):
    """Labels, weights, zero-based indexes, comments, blanks and empty lines; a line without features is a row."""
    data = read_libsvm([file("1:0.5 0:1 3:-2e1 # note\n\n0\t1:5 \r\n  1\n"), file("2 4:7", "more")])
    np.testing.assert_array_equal(data.labels, [1, 0, 1, 2])
    np.testing.assert_array_equal(data.weights, [0.5, 1, 1, 1])
    np.testing.assert_array_equal(data.row_ends, [0, 2, 3, 3, 4])
    np.testing.assert_array_equal(data.indexes, [0, 3, 1, 4])
    np.testing.assert_array_equal(data.values, [1, -20, 5, 7])
    assert data.query_ids is None


def test_libsvm_queries(file):
    """Query ids of a ranking stand behind the label."""
    data = read_libsvm([file("1 qid:3 0:1\n0:2 qid:3 1:5\n0 qid:4\n")])
    np.testing.assert_array_equal(data.query_ids, [3, 3, 4])
    np.testing.assert_array_equal(data.row_ends, [0, 1, 2, 2])
    np.testing.assert_array_equal(data.weights, [1, 2, 1])


@pytest.mark.parametrize(
    "line",
    [
        "1 2 3",
        "1 2:3:4 5",
        "1 2:x",
        "a 1:2",
        "1:2:3 1:1",
        "1 1.5:2",
        "1 -2:2",
        "1 2:",
        "1 :2",
        "1,2,3",
        "1 qid:1 qid:2",
    ],
)
def test_libsvm_errors(file, line):
    """A line out of the format is named; the first line with the container's words."""
    with pytest.raises(CustomerError, match=r"First line .* of file 'data' is not 'LIBSVM' format"):
        read_libsvm([file(line + "\n")])
    with pytest.raises(CustomerError, match="file 'data', line 3: "):
        read_libsvm([file(f"1 0:1\n0\n{line}\n1 1:1\n")])


def test_libsvm_queries_on_some_lines(file):
    """Query ids on some lines only would shift the groups."""
    with pytest.raises(CustomerError, match="qid"):
        read_libsvm([file("1 qid:1 0:1\n1 0:1\n")])


@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3, 3),
            st.none() | st.integers(1, 9),
            st.dictionaries(st.integers(0, 2**40), st.floats(width=32, allow_nan=False), max_size=4),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_libsvm_any_rows(tmp_path_factory, rows):
    """Any rows come back as written."""
    lines = [
        f"{label}{'' if weight is None else f':{weight}'}" + "".join(f" {i}:{v!r}" for i, v in features.items())
        for label, weight, features in rows
    ]
    path = tmp_path_factory.mktemp("libsvm") / "data"
    path.write_text("\n".join(lines))
    data = read_libsvm([path])
    assert data.labels.tolist() == [label for label, _, _ in rows]
    if any(weight for _, weight, _ in rows):
        assert data.weights.tolist() == [weight or 1 for _, weight, _ in rows]
    for row, (_, _, features) in enumerate(rows):
        at = slice(data.row_ends[row], data.row_ends[row + 1])
        assert dict(zip(data.indexes[at].tolist(), data.values[at].tolist(), strict=True)) == features
