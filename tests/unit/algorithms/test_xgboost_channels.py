"""Channel rules, content types, and which files are data."""

from pathlib import Path

import pytest

from clary_algorithms.container import Channel, CustomerError
from clary_algorithms.xgboost.channels import Format, content_format, data_files, validate


def channel(name: str, content_type: str | None = None, mode: str = "File") -> Channel:
    return Channel(name=name, content_type=content_type, input_mode=mode, directory=Path("/nowhere") / name)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("csv", Format.CSV),
        ("text/csv", Format.CSV),
        ("Text/CSV; label_size=1; charset=utf8", Format.CSV),
        ("libsvm", Format.LIBSVM),
        ("text/libsvm ;charset=utf8", Format.LIBSVM),
        ("text/x-libsvm", Format.LIBSVM),
    ],
)
def test_content_types(content_type, expected):
    """Parameters after the semicolon are read, case does not matter."""
    assert content_format(content_type) is expected


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("text/csv;label_size=0", "label_size must be equal to 1"),
        ("application/x-parquet", "not available in this build"),
        ("application/x-recordio-protobuf", "not available in this build"),
        ("application/json", "is not an accepted ContentType"),
    ],
)
def test_other_content_types(content_type, message):
    """What cannot be read is refused by name."""
    with pytest.raises(CustomerError, match=message):
        content_format(content_type)


def test_the_second_channel_follows_the_first():
    """A validation channel without a type is read in the training channel's; one with a type, in its own."""
    train, validation = validate({"validation": channel("validation"), "train": channel("train", "text/csv")})
    assert (train.format, validation.format) == (Format.CSV, Format.CSV)
    _, validation = validate({"validation": channel("validation", "libsvm"), "train": channel("train", "text/csv")})
    assert validation.format is Format.LIBSVM


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([channel("validation")], "Missing required channel: train"),
        ([channel("train"), channel("model")], "Extraneous channel found: model"),
        ([channel("train"), channel("code")], "Channel 'code' is not available"),
        ([channel("train", mode="Pipe")], "Pipe mode"),
    ],
)
def test_refusals(channels, message):
    """Each rule names the channel that breaks it."""
    with pytest.raises(CustomerError, match=message):
        validate({entry.name: entry for entry in channels})


def test_fast_file_is_a_directory():
    """FastFile mode shows files in the same place."""
    train, _ = validate({"train": channel("train", mode="FastFile")})
    assert train.directory == Path("/nowhere/train")


def test_data_files(tmp_path):
    """Three levels are read, in order; underscored, cached, empty and deeper files are not."""
    for name in ("b", "a/x", "a/b/y", "a/b/c/deep", "_SUCCESS", "dtrain.cache.1", "a/_meta"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "empty").touch()
    assert [str(path.relative_to(tmp_path)) for path in data_files(tmp_path)] == ["a/b/y", "a/x", "b"]


def test_no_directory_no_files(tmp_path):
    """A host without its share of a channel has nothing to read."""
    assert data_files(tmp_path / "train") == []


def test_hidden_files_are_refused(tmp_path):
    """A name with a leading dot fails the job, wherever it lies."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".DS_Store").write_text("x")
    with pytest.raises(CustomerError, match="Hidden file found"):
        data_files(tmp_path)
