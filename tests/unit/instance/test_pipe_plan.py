"""What a Pipe mode channel sends: looked up once, kept, in order; and how a lookup fails."""

import json

import pytest

from clary.instance.pipe_plan import look_up, objects, units
from clary.jobs.failure import JobFailed
from clary.jobs.model import S3DataSource
from clary.storage.directory import DirectoryStorage
from clary.storage.faulty import Fault, FaultyStorage
from clary.storage.manifests import ManifestError
from clary.storage.port import NoSuchKey
from clary.storage.reading import ReadObject
from clary.storage.uri import S3Location


@pytest.fixture
def buckets(tmp_path):
    buckets = DirectoryStorage(tmp_path / "s3")
    for name in ("data", "other"):
        buckets.create_bucket(name)
    return buckets


@pytest.fixture
def kept(tmp_path, buckets):
    """Look a channel up and read back what was kept."""

    def look(kind, uri, *names, storage=buckets):
        source = S3DataSource(s3_data_type=kind, s3_uri=uri, attribute_names=names)
        found = look_up(source, lambda _access, _location: storage, tmp_path / "plan")
        back = units(source, tmp_path / "plan")
        assert len(back) == found
        return back

    return look


def put(buckets, key, document):
    body = "\n".join(map(json.dumps, document)) if isinstance(document, tuple) else json.dumps(document)
    buckets.put("data", key, body.encode())
    return f"s3://data/{key}"


def keys(found):
    return [entry.key for unit in found for entry in unit]


def test_a_prefix_is_listed_in_the_order_of_s3(buckets, kept):
    """By the UTF-8 bytes of the keys; the prefix is raw. Markers of folders have nothing to send, empty objects have."""
    names = ["in/ü", "in/b", "in/a/", "in/a/x", "in/B", "in/empty", "in2", "in/full/", "in"]
    for name in names:
        buckets.put("data", name, b"" if name.endswith(("a/", "empty")) else b"1")
    found = kept("S3Prefix", "s3://data/in")

    wanted = sorted(set(names) - {"in/a/"}, key=str.encode)
    assert keys(found) == wanted
    assert found[wanted.index("in/b")] == (
        ReadObject(bucket="data", key="in/b", size_bytes=1, etag=buckets.head("data", "in/b").etag),
    )


def test_what_is_kept_is_not_looked_up_again(buckets, kept, tmp_path):
    """What comes or goes later is not seen."""
    buckets.put("data", "in/a", b"1")
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri="s3://data/in/")
    before = kept("S3Prefix", "s3://data/in/")
    buckets.put("data", "in/b", b"2")

    assert units(source, tmp_path / "plan") == before


@pytest.mark.parametrize("body", [None, b""])
def test_nothing_to_send_fails_the_job(buckets, kept, body):
    """No object, or markers of folders only."""
    if body is not None:
        buckets.put("data", "in/", body)
    with pytest.raises(JobFailed, match="No S3 objects found under S3 URL"):
        kept("S3Prefix", "s3://data/in/")


def test_a_manifest_is_kept_in_its_order(buckets, kept):
    """Duplicates too; the objects are not looked at yet."""
    uri = put(buckets, "m", [{"prefix": "s3://other/p/"}, "b", "a", "b"])

    assert kept("ManifestFile", uri) == [(S3Location(bucket="other", key=f"p/{name}"),) for name in "bab"]


def test_lines_of_an_augmented_manifest_stay_together(buckets, kept):
    """References to several buckets, and texts, in the order of AttributeNames; what is not named is left out."""
    lines = (
        {"label": 1, "image-ref": "s3://data/1.jpg", "more": [1]},
        {"image-ref": "s3://other/x/2.jpg", "label": "zwei", "mask-ref": "s3://data/2.png"},
    )
    found = kept("AugmentedManifestFile", put(buckets, "m", lines), "image-ref", "label")

    assert found == [
        (S3Location(bucket="data", key="1.jpg"), b"1"),
        (S3Location(bucket="other", key="x/2.jpg"), b"zwei"),
    ]


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("ManifestFile", [{"prefix": "s3://data/"}], "names no objects"),
        ("ManifestFile", [{"prefix": "s3://data/po*l/"}, "x"], "the prefix of the manifest cannot be used"),
        ("ManifestFile", "text", "must be a JSON array"),
        ("AugmentedManifestFile", ({"a-ref": "s3://data/a", "b": 1}, {"b": 2}), "line 2 of the manifest lacks"),
        ("AugmentedManifestFile", ({"a-ref": "s3://data/a?b"},), "the prefix of the manifest cannot be used"),
        ("AugmentedManifestFile", ({"a-ref": "data/a"},), "must be an S3 URI"),
        ("AugmentedManifestFile", (), "names no objects"),
    ],
)
def test_a_manifest_that_is_no_good_is_told_at_once(buckets, kept, kind, body, reason):
    """Before the program starts."""
    with pytest.raises(ManifestError, match=reason):
        kept(kind, put(buckets, "m", body), "a-ref")


def test_stars_in_suffixes_are_no_trouble(buckets, kept):
    """Leave is given for the prefix."""
    assert keys(kept("ManifestFile", put(buckets, "m", [{"prefix": "s3://data/p/"}, "a*?b"]))) == ["p/a*?b"]


def test_objects_of_manifests_are_looked_up_a_little_ahead(buckets):
    """In order, and no more of them than asked for; a unit's own bytes are passed on."""
    for n in range(100):
        buckets.put("data", f"{n:03}", bytes(n))
    storage = FaultyStorage(buckets)
    chosen = [(S3Location(bucket="data", key=f"{n:03}"), str(n).encode()) for n in range(100)]
    found = objects(chosen, lambda where: storage.head(where.bucket, where.key), ahead=4)

    first = [next(found) for _ in range(6)]
    assert len(storage.calls) <= 8
    everything = [*first, *found]
    assert [entry.size_bytes for entry in everything[::2]] == list(range(100))
    assert everything[1::2] == [str(n).encode() for n in range(100)]


def test_an_object_that_is_gone_is_told_in_its_turn(buckets):
    """Those before it are given."""
    for n in range(3):
        buckets.put("data", str(n), b"x")
    storage = FaultyStorage(buckets, [Fault(verb="head", key="2", error=NoSuchKey("gone"))])
    found = objects(
        [(S3Location(bucket="data", key=str(n)),) for n in range(3)],
        lambda where: storage.head(where.bucket, where.key),
        ahead=1,
    )

    assert [next(found).key, next(found).key] == ["0", "1"]
    with pytest.raises(NoSuchKey):
        next(found)
