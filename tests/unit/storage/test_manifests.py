"""Manifests as users write them, well and badly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.storage import manifests
from clary.storage.manifests import (
    HEAD_BYTES,
    AugmentedEntry,
    Manifest,
    ManifestError,
    augmented_entries,
    manifest_entries,
    manifest_location,
)
from clary.storage.uri import S3Location

ROOT = '[{"prefix": "s3://b/root/"}'


def test_entries_are_in_order_and_duplicates_stay():
    """Prefix and suffix are joined as they are."""
    data = (ROOT + ', "b/2.csv", "a/1.csv", "b/2.csv"]').encode()
    keys = ("root/b/2.csv", "root/a/1.csv", "root/b/2.csv")
    assert manifest_entries(data) == Manifest(bucket="b", prefix="root/", keys=keys)


@pytest.mark.parametrize(
    ("prefix", "suffix", "key"),
    [
        ("s3://b/", "k", "k"),
        ("s3://b/part-", "1/x", "part-1/x"),
        ("s3://b/root", "/x", "root/x"),
        ("s3://b/a%20b/", "c%20d", "a%20b/c%20d"),
        ("s3://b/ü/", "日本", "ü/日本"),
        ("s3://b/whole", "", "whole"),
    ],
)
def test_a_prefix_may_end_anywhere_after_the_bucket(prefix, suffix, key):
    """Keys are texts: nothing is decoded, no slash is added."""
    assert manifest_entries(json.dumps([{"prefix": prefix}, suffix]).encode()).keys == (key,)


def test_a_byte_order_mark_is_skipped():
    """Windows editors leave one; it is no part of the JSON."""
    assert manifest_entries(b"\xef\xbb\xbf" + ROOT.encode() + b',"x"]').keys == ("root/x",)
    assert manifest_location(b"\xef\xbb\xbf" + ROOT.encode()) == S3Location(bucket="b", key="root/")
    assert list(augmented_entries(b'\xef\xbb\xbf{"a": 1}', ["a"])) == [AugmentedEntry(line=1, attribute="a", data=b"1")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON: Expecting value at line 1, column 1"),
        (b'[{"prefix": "s3://b/"},\n"a"\n"b"]', "no JSON: Expecting ',' delimiter at line 3, column 1"),
        (b'[{"prefix": "s3://b/"},\n"\xff"]', "not UTF-8: byte 25, line 2"),
        (b"{}", "must be a JSON array, and is an object"),
        (b"null", "must be a JSON array, and is null"),
        (b"[]", "empty array"),
        (b'["a"]', "the first element of the manifest must be"),
        (b'[{"prefix": 1}, "a"]', "the first element of the manifest must be"),
        (b'[{"prefix": "s3://b/", "x": 1}, "a"]', "and nothing else"),
        (b'[{"prefix": "s3://b"}, "a"]', "must begin with s3://bucket/, and is 's3://b'"),
        (b'[{"prefix": ""}, "a"]', "must be an S3 URI, and is ''"),
        (b'[{"prefix": "https://s3.amazonaws.com/b/x"}, "a"]', "must begin with s3://bucket/"),
        (b'[{"prefix": "s3://b/"}]', "names no objects"),
        (b'[{"prefix": "s3://b/"}, "a", 1]', "element 3 of the manifest must be a string, and is a number"),
        (b'[{"prefix": "s3://b/"}, true]', "element 2 of the manifest must be a string, and is a boolean"),
        (b'[{"prefix": "s3://b/"}, ["a"]]', "element 2 of the manifest must be a string, and is an array"),
        (b'[{"prefix": "s3://b/"}, ""]', "element 2 of the manifest makes a key of 0 bytes"),
        (b'[{"prefix": "s3://b/"}, "' + b"x" * 1025 + b'"]', "makes a key of 1025 bytes; keys have 1 to 1024"),
        (b'[{"prefix": "s3://b/"}, "\\ud800"]', "half of a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_is_said(data, said):
    """With its place."""
    with pytest.raises(ManifestError) as caught:
        manifest_entries(data)
    assert said in str(caught.value)


def test_a_manifest_has_a_largest_size(monkeypatch):
    """It is held in memory."""
    monkeypatch.setattr(manifests, "MANIFEST_BYTES_MAX", 10)
    with pytest.raises(ManifestError, match="10 are taken at most"):
        manifest_entries(ROOT.encode() + b', "x"]')


@given(st.text(max_size=1000), st.integers(0, 4000))
def test_the_prefix_is_known_from_the_beginning_alone(prefix, cut):
    """However the bytes after the first element are cut: what is granted is what will be read."""
    whole = json.dumps([{"prefix": f"s3://b/{prefix}"}, "x" * 500, "é" * 500], ensure_ascii=len(prefix) % 2 == 0)
    try:
        data = whole.encode()
    except UnicodeEncodeError:
        return
    first = len(json.dumps([{"prefix": f"s3://b/{prefix}"}], ensure_ascii=len(prefix) % 2 == 0).encode()) - 1
    expected = S3Location(bucket="b", key=prefix)
    assert manifest_location(data[: first + cut]) == expected
    assert first < HEAD_BYTES


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_bytes_are_too_odd(data):
    """Anything is read or refused; both readers agree on the prefix of what is read."""
    for read in (manifest_entries, manifest_location, lambda data: list(augmented_entries(data, ["a"]))):
        try:
            found = read(data)
        except ManifestError:
            continue
        if isinstance(found, Manifest):
            assert manifest_location(data) == S3Location(bucket=found.bucket, key=found.prefix)


class TestAugmented:
    def test_attributes_come_line_by_line_in_the_order_of_the_names(self):
        """References as locations, texts without quotes, all else as it is written; other attributes are left out."""
        data = (
            b'{"source-ref": "s3://b/img 1.jpg", "class": "caf\\u00e9 \\"x\\"", "n": 1.0, "meta": {"a": [1, 2]}}\n'
            b'{"n": 1e3, "class": true, "source-ref": "s3://c/2", "meta": [ 1 ], "extra": 1}\r\n'
            b"  \n"
            b'{"source-ref": "s3://b/3", "class": "", "n": null, "meta": -0}'
        )
        found = list(augmented_entries(data, ["source-ref", "class", "n", "meta"]))
        assert [entry.line for entry in found] == [1] * 4 + [2] * 4 + [4] * 4
        assert [entry.attribute for entry in found] == ["source-ref", "class", "n", "meta"] * 3
        assert [str(entry.reference) for entry in found[::4]] == ["s3://b/img 1.jpg", "s3://c/2", "s3://b/3"]
        assert [entry.data for entry in found if entry.reference is None] == [
            *('café "x"'.encode(), b"1.0", b'{"a": [1, 2]}'),
            *(b"true", b"1e3", b"[ 1 ]"),
            *(b"", b"null", b"-0"),
        ]

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b'{"a-ref": "s3://b/k"}', "lacks the attribute 'label'"),
            (b'{"A-REF": "s3://b/k", "label": 1}', "lacks the attribute 'a-ref'"),
            (b'["s3://b/k", 1]', "must be a JSON object"),
            (b'{"a-ref": "s3://b/k", "label": 1} {}', "must be a JSON object"),
            (b'{"a-ref": "s3://b/k", "label": NaN}', "must be a JSON object"),
            (b'{"a-ref": "/local/k", "label": 1}', 'must be an S3 URI, and is "/local/k"'),
            (b'{"a-ref": ["s3://b/k"], "label": 1}', "must be an S3 URI"),
            (b'{"a-ref": "s3://b/", "label": 1}', "makes a key of 0 bytes"),
            (b'{"a-ref": "s3://b/k", "label": "\xff"}', "is not UTF-8"),
        ],
    )
    def test_what_is_wrong_is_said_when_its_line_is_reached(self, line, said):
        """The lines before it have been given."""
        entries = augmented_entries(b'{"a-ref": "s3://b/k", "label": 1}\n' + line + b"\n", ["a-ref", "label"])
        seen = []
        with pytest.raises(ManifestError, match="line 2") as caught:
            seen.extend(iter(entries))
        assert said in str(caught.value)

    def test_a_manifest_of_no_lines_is_refused(self):
        """Blank lines count for nothing."""
        for data in (b"", b"\n \n"):
            with pytest.raises(ManifestError, match="names no objects"):
                list(augmented_entries(data, ["a"]))
