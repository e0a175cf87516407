import posixpath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clary.storage.port import ObjectInfo
from clary.storage.selection import (
    FileAndDirectory,
    SelectedObject,
    Selection,
    UnsafeKey,
    arrange,
    channel_manifest,
    relative_path,
    select_prefix,
    shard,
)
from clary.storage.uri import InvalidS3Uri, S3Location, parse_s3_uri


def info(key, size_bytes=1):
    return ObjectInfo(key=key, size_bytes=size_bytes, etag=f'"{key}"')


def paths(prefix, *keys):
    return {item.key: item.relative_path for item in select_prefix(prefix, map(info, keys)).objects}


NAME = st.text("ab.-_ é", min_size=1, max_size=4).filter(lambda name: name not in {".", ".."})
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)
ANY_KEY = st.text(st.sampled_from("ab./\0é"), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("prefix", "key", "expected"),
    [
        ("data/", "data/a/b.csv", "a/b.csv"),
        ("tests/job/input", "tests/job/input/test", "test"),
        ("job/state", "job/state/algo-1/x", "algo-1/x"),
        ("data/abalone_train.libsvm", "data/abalone_train.libsvm", "abalone_train.libsvm"),
        ("model.tar.gz", "model.tar.gz", "model.tar.gz"),
        ("data/train", "data/train-data.csv", "train-data.csv"),
        ("data/train", "data/train-2/y", "train-2/y"),
        ("train", "train-2/y", "train-2/y"),
        ("", "a/b", "a/b"),
        ("data/", "data/", ""),
        ("data", "data/", ""),
    ],
)
def test_the_documented_and_observed_names(prefix, key, expected):
    """Each row of the table of local names holds."""
    assert relative_path(prefix, key) == expected


@given(folder=PATH, rest=PATH)
def test_a_folder_with_and_without_its_slash_is_the_same(folder, rest):
    """Naming a folder as "p" or "p/" lays its objects out alike."""
    key = f"{folder}/{rest}"
    assert relative_path(folder, key) == relative_path(f"{folder}/", key) == rest


@given(key=PATH, cut=st.integers(min_value=0))
def test_a_local_name_is_a_tail_of_its_key(key, cut):
    """Whatever prefix selects a key, its path is whole last parts of the key: names are never cut in the middle."""
    path = relative_path(key[: cut % (len(key) + 1)], key)
    assert key == path or key.endswith(f"/{path}")


@given(prefix=ANY_KEY, rests=st.lists(ANY_KEY, max_size=6))
def test_no_path_leaves_the_directory(prefix, rests):
    """Whatever the keys, a plan is refused or holds only clean paths strictly below the directory."""
    try:
        selection = select_prefix(prefix, [info(prefix + rest) for rest in rests])
    except (UnsafeKey, FileAndDirectory):
        return
    for path in [item.relative_path for item in selection.objects] + list(selection.directories):
        assert posixpath.normpath(f"/channel/{path}") == f"/channel/{path}"
        assert "\0" not in path


@given(keys=st.lists(PATH, max_size=12, unique=True))
def test_a_plan_can_be_laid_out(keys):
    """A plan that is not refused has distinct paths, none of them a directory of another."""
    try:
        selection = arrange((info(key), key) for key in keys)
    except FileAndDirectory:
        assert any(other.startswith(f"{key}/") for key in keys for other in keys)
        return
    found = [item.relative_path for item in selection.objects]
    assert found == sorted(keys, key=str.encode)
    assert not any(other.startswith(f"{path}/") for path in found for other in found)


@pytest.mark.parametrize(
    "rest", ["../x", "a/../../x", "a/..", "..", ".", "./a", "/etc/passwd", "a//b", "a\0b", "n" * 256, "é" * 128]
)
def test_keys_that_are_no_paths_are_refused(rest):
    """Keys that would leave the directory, or are no file names, are refused by name."""
    with pytest.raises(UnsafeKey):
        select_prefix("p/", [info(f"p/{rest}")])


def test_a_partial_name_may_not_climb():
    """A prefix that ends within ".." gives no way up."""
    with pytest.raises(UnsafeKey):
        select_prefix("data/.", [info("data/../../x")])


def test_folder_markers_become_directories():
    """Empty objects whose key ends with a slash are directories, not files; the prefix's own marker is nothing."""
    selection = select_prefix("p/", [info("p/", 0), info("p/sub/", 0), info("p/sub/x"), info("p/empty/", 0)])
    assert [item.relative_path for item in selection.objects] == ["sub/x"]
    assert selection.directories == ("empty", "sub")


def test_a_marker_with_content_is_refused():
    """Bytes under a key that ends with a slash have no file to go to, and are not dropped."""
    with pytest.raises(UnsafeKey):
        select_prefix("p/", [info("p/sub/", 3)])


def test_empty_objects_are_files():
    """A zero-byte object is an empty file."""
    (item,) = select_prefix("p", [info("p/_SUCCESS", 0)]).objects
    assert (item.relative_path, item.size_bytes) == ("_SUCCESS", 0)


def test_of_two_keys_with_one_path_the_last_wins():
    """A folder and a partial name may meet in one path: the greater key takes it."""
    assert paths("d/a", "d/a", "d/a/a", "d/ab") == {"d/a/a": "a", "d/ab": "ab"}


@pytest.mark.parametrize("keys", [("p/a", "p/a/b"), ("p/a/b", "p/a"), ("p/a", "p/a-", "p/a/b/c/d"), ("p/a", "p/a/")])
def test_a_file_that_is_a_directory_is_refused(keys):
    """One name cannot be both."""
    with pytest.raises(FileAndDirectory, match="p/a"):
        select_prefix("p/", [info(key, 0 if key.endswith("/") else 1) for key in keys])


@given(objects=st.lists(st.integers(), max_size=40), hosts=st.integers(1, 9))
def test_shards_are_a_fair_partition(objects, hosts):
    """All objects go to exactly one host each, and counts differ by one at most; objects keep their order."""
    shares = [shard(objects, host, hosts) for host in range(hosts)]
    assert [shares[i % hosts][i // hosts] for i in range(len(objects))] == objects
    assert sum(map(len, shares)) == len(objects)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_observed_shards_of_two_hosts():
    """The captured job: algo-1 had 1, 2, 4, 6, 8 and algo-2 had 10, 3, 5, 7, 9 of each folder."""
    numbers = [str(n) for n in range(1, 11)]
    selection = select_prefix("in", [info(f"in/{folder}/{n}") for folder in "ab" for n in numbers])
    one, two = (shard(selection.objects, host, 2) for host in (0, 1))
    assert [item.relative_path for item in one] == [f"{d}/{n}" for d in "ab" for n in ("1", "2", "4", "6", "8")]
    assert [item.relative_path for item in two] == [f"{d}/{n}" for d in "ab" for n in ("10", "3", "5", "7", "9")]


def test_more_hosts_than_objects():
    """A host without objects gets an empty plan; a host that does not exist is a mistake."""
    assert shard(["only"], 1, 2) == ()
    with pytest.raises(ValueError, match="host 2 of 2"):
        shard(["only"], 2, 2)


def test_the_channel_manifest():
    """First the prefix, then every object's URI, each line ended; a channel without objects has the first line alone."""
    keys = ["in/put/a c", "in/put/b"]
    assert channel_manifest("in/put", "bkt", keys) == "in/put\ns3://bkt/in/put/a c\ns3://bkt/in/put/b\n"
    assert channel_manifest("state", "bkt", []) == "state\n"


def test_sizes_add_up():
    """A selection knows the bytes that it will take."""
    item = SelectedObject(key="k", size_bytes=3, etag="", relative_path="k")
    assert Selection(objects=(item, item)).size_bytes == 6
    assert Selection(objects=()).size_bytes == 0


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/k", "b", "k"),
        ("s3://b/a/b%20c?d#e+", "b", "a/b%20c?d#e+"),
        ("s3://b//k", "b", "/k"),
        ("s3://b/a\nb", "b", "a\nb"),
        ("https://s3.us-west-2.amazonaws.com/b/a%20b/c", "b", "a b/c"),
        ("https://s3-us-west-2.amazonaws.com/b", "b", ""),
        ("https://b.s3.us-west-2.amazonaws.com/k", "b", "k"),
        ("https://my.dotted.bkt.s3.amazonaws.com/k/", "my.dotted.bkt", "k/"),
        ("https://b.s3.cn-north-1.amazonaws.com.cn/k", "b", "k"),
        ("https://minio.example.org:9000/b/k", "b", "k"),
    ],
)
def test_s3_uris(uri, bucket, key):
    """Both forms that the API's pattern allows give a bucket and a key."""
    assert parse_s3_uri(uri) == S3Location(bucket=bucket, key=key)


@pytest.mark.parametrize(
    "uri", ["", "b/k", "s3:/b/k", "s3://", "s3:///k", "http://b/k", "file:///etc", "https://host/"]
)
def test_other_texts_are_no_s3_uris(uri):
    """Anything else is refused."""
    with pytest.raises(InvalidS3Uri):
        parse_s3_uri(uri)


@given(bucket=NAME, key=PATH, name=NAME)
def test_uris_round_trip(bucket, key, name):
    """The text of a location parses to the same location, and a child stands below it by one slash."""
    location = S3Location(bucket=bucket, key=key)
    assert parse_s3_uri(str(location)) == location
    assume(not key.endswith("/"))
    assert location.child(name) == S3Location(bucket=bucket, key=f"{key}/{name}")
    assert S3Location(bucket=bucket, key=f"{key}/").child(name) == location.child(name)
    assert S3Location(bucket=bucket, key="").child(name).key == name
