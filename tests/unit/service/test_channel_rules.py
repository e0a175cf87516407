"""Which source goes with which input mode."""

import msgspec
import pytest

from clary.aws.errors import ValidationException
from clary.jobs.model import Channel, DataSource, FileSystemDataSource, S3DataSource
from clary.service.channel_rules import check_channel

EFS = {"file_system_id": "fs-01234567", "file_system_type": "EFS", "file_system_access_mode": "ro"}


def of_s3(kind):
    names = ("a",) if kind == "AugmentedManifestFile" else ()
    source = S3DataSource(s3_data_type=kind, s3_uri="s3://b/k", attribute_names=names)
    return Channel(channel_name="c", data_source=DataSource(s3_data_source=source))


def of_file_system(path="/"):
    source = FileSystemDataSource(**EFS, directory_path=path)
    return Channel(channel_name="c", data_source=DataSource(file_system_data_source=source))


@pytest.mark.parametrize(
    ("kind", "modes"),
    [
        ("S3Prefix", {"File", "Pipe", "FastFile"}),
        ("ManifestFile", {"File", "Pipe"}),
        ("AugmentedManifestFile", {"Pipe"}),
        ("FileSystem", {"File"}),
    ],
)
@pytest.mark.parametrize("mode", ["File", "Pipe", "FastFile"])
def test_the_modes_of_each_source(kind, modes, mode):
    """As the API documents them; a refusal names the channel, what it has, and the mode."""
    channel = of_file_system() if kind == "FileSystem" else of_s3(kind)
    if mode in modes:
        check_channel(channel, mode)
        return
    with pytest.raises(ValidationException, match="Input channel 'c'") as caught:
        check_channel(channel, mode)
    assert kind in str(caught.value)
    assert mode in str(caught.value)


@pytest.mark.parametrize("name", ["model", "warm-start"])
@pytest.mark.parametrize("mode", ["File", "Pipe", "FastFile"])
def test_a_model_to_go_on_from_is_a_file(mode, name):
    """Whatever its channel is called; and a channel "model" of other content is one like any other."""
    channel = msgspec.structs.replace(of_s3("S3Prefix"), channel_name=name)
    check_channel(msgspec.structs.replace(channel, content_type="text/csv"), mode)
    model = msgspec.structs.replace(channel, content_type="application/x-sagemaker-model")
    if mode == "File":
        check_channel(model, mode)
        return
    with pytest.raises(ValidationException, match=f"'{name}': .* needs the input mode File, not {mode}"):
        check_channel(model, mode)


@pytest.mark.parametrize("path", ["/a/../b", "..", "/..", "/a\0b"])
def test_a_directory_path_never_goes_up(path):
    """Nor does it hold NUL, which ends a path for the kernel."""
    with pytest.raises(ValidationException, match="DirectoryPath"):
        check_channel(of_file_system(path), "File")
    check_channel(of_file_system("/a..b/..c"), "File")
