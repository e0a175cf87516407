"""File mode against a simple model of it: random trees of odd keys, each way to name them, each way to deal them out."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clary.instance.channel_plan import plan_channel
from clary.jobs.failure import JobFailed
from clary.jobs.model import S3DataSource
from clary.storage.directory import DirectoryStorage
from clary.storage.port import NoSuchKey
from clary.storage.selection import SelectionError
from clary.storage.transfer import download
from unit.instance.scenes import make_task

# Names that files may have, and, seldom, parts of keys that none may have.
_NAMES = [
    *("a", "b", "A", "train", "train-2", "train.csv", "é", "e\u0301", "日本", "😀", "a b", "%41", "a+b", "-rf", "*?[]"),
    *(".hidden", "...", "tab\t", "line\n", "\x7f", "back\\slash", "'\"$(x)", "_SUCCESS", "\uffff"),
]
names = st.sampled_from(_NAMES)
keys = st.builds(
    lambda folders, name: "/".join([*folders, name]),
    st.lists(st.sampled_from(["data", "train", "train-2", "é"]) | names, max_size=3),
    names,
)
markers = keys.map(lambda key: key + "/")
odd_keys = st.lists(st.sampled_from(["", ".", "..", "a", "x" * 256]), min_size=2, max_size=3).map("/".join).filter(bool)
bodies = st.sampled_from([b"", b"1", b"some bytes"])


def _tree(files, folders, odd):
    return files | dict.fromkeys(folders, b"") | odd


trees = st.builds(
    _tree,
    st.dictionaries(keys, bodies, min_size=2, max_size=10),
    st.lists(markers, max_size=3),
    st.just({}) | st.just({}) | st.dictionaries(odd_keys | markers, bodies, max_size=1),
)
cuts = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 12])


class Impossible(Exception):
    """The model has no tree for it."""


def ordered(keys):
    return sorted(keys, key=lambda key: key.encode())


def place(items):
    """The tree of (path, body) pairs: files with their bodies, directories with None. Later ones win."""
    files, folders = {}, set()
    for path, body in items:
        if path in {"", "/"} or path.endswith("/"):
            if body:
                raise Impossible(f"a folder with bytes: {path!r}")
            if path:
                folders.add(path[:-1])
        else:
            files[path] = body
    for path in [*files, *folders]:
        if any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in path.split("/")):
            raise Impossible(f"no name for a file: {path!r}")
        steps = path.split("/")
        folders |= {"/".join(steps[:n]) for n in range(1, len(steps))}
    if folders & set(files):
        raise Impossible(f"files and folders: {folders & set(files)}")
    return files, folders


def of_prefix(tree, prefix, host, hosts):
    """What the host gets of an S3Prefix channel, and its list. Markers come to all hosts, as they are no objects of data."""
    cut = prefix if prefix.endswith("/") else prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
    found = {}
    for key in ordered(key for key in tree if key.startswith(prefix)):
        start = len(prefix) + 1 if prefix and key.startswith(f"{prefix}/") and not prefix.endswith("/") else len(cut)
        found.pop(key[start:], None)
        found[key[start:]] = key
    if not found:
        raise Impossible("no objects")
    place((path, tree[key]) for path, key in found.items())
    files = [path for path in found if path and not path.endswith("/")]
    markers = [path for path in found if not path or path.endswith("/")]
    own = [path for number, path in enumerate(files) if number % hosts == host]
    return place((path, tree[found[path]]) for path in [*markers, *own]), [found[path] for path in files]


def of_manifest(tree, prefix, suffixes, host, hosts):
    """What the host gets of a ManifestFile channel, and its list."""
    if not suffixes or any(not 1 <= len((prefix + suffix).encode()) <= 1024 for suffix in suffixes):
        raise Impossible("no objects")
    own = [suffix for number, suffix in enumerate(suffixes) if number % hosts == host]
    if any(prefix + suffix not in tree for suffix in own):
        raise Impossible("no such object")
    pairs = [(s[1:] if s.startswith("/") and not prefix.endswith("/") else s, s) for s in ordered(own)]
    return place((path, tree[prefix + s]) for path, s in pairs), [prefix + suffix for suffix in suffixes]


def really(tree, source, host, hosts, extra=None):
    """What the planner and the transfer make of it: files, directories, and the text beside the channel."""
    with tempfile.TemporaryDirectory() as root:
        storage = DirectoryStorage(Path(root) / "s3")
        for bucket in ("data", "manifests"):
            storage.create_bucket(bucket)
        for key, body in tree.items():
            storage.put("data", key, body)
        if extra is not None:
            storage.put("manifests", "m", extra)
        task = make_task(hosts=tuple(f"algo-{n + 1}" for n in range(hosts)), host=f"algo-{host + 1}")
        plan = plan_channel(source, task, lambda _access, _location: storage)
        top = Path(root) / "channel"
        download(plan.storage, plan.bucket, plan.selection, top)
        found = list(top.rglob("*"))
        files = {str(path.relative_to(top)): path.read_bytes() for path in found if path.is_file()}
        folders = {str(path.relative_to(top)) for path in found if path.is_dir()}
        return files, folders, plan.manifest


def same(expected, real):
    """Both have a tree, the same one, or neither has."""
    try:
        (files, folders), listed, prefix = expected()
    except Impossible as reason:
        try:
            real()
        except (SelectionError, JobFailed, NoSuchKey):
            return
        raise AssertionError(f"planned, though {reason}") from None
    text = f"{prefix}\n" + "".join(f"s3://data/{key}\n" for key in listed)
    assert real() == (files, folders, text)


distributions = st.sampled_from([(None, 1), ("FullyReplicated", 3), ("ShardedByS3Key", 1), ("ShardedByS3Key", 3)])


@settings(max_examples=150, deadline=None)
@given(trees, st.data(), cuts, distributions)
def test_an_s3_prefix(tree, data, cut, distribution):
    """Any beginning of a key is a prefix: of a folder, of a name, of a whole key; some select nothing."""
    prefix = data.draw(st.sampled_from(sorted(tree)), "key")[:cut] if tree else ""
    kind, hosts = distribution
    source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://data/{prefix}", s3_data_distribution_type=kind)
    for host in range(hosts):
        dealt = (host, hosts) if kind == "ShardedByS3Key" else (0, 1)
        same(lambda d=dealt: (*of_prefix(tree, prefix, *d), prefix), lambda h=host: really(tree, source, h, hosts))


@settings(max_examples=150, deadline=None)
@given(trees, st.data(), cuts, distributions)
def test_a_manifest(tree, data, cut, distribution):
    """Some of the keys with a common beginning, in any order, twice or not there at all."""
    prefix = data.draw(st.sampled_from(sorted(tree)), "key")[:cut] if tree else ""
    below = [key[len(prefix) :] for key in ordered(tree) if key.startswith(prefix)]
    suffixes = data.draw(st.lists(st.sampled_from(below), min_size=1, max_size=8), "suffixes") if below else []
    if data.draw(st.integers(0, 9), "missing") == 9:
        suffixes = [*suffixes, "not there"]
    kind, hosts = distribution
    source = S3DataSource(s3_data_type="ManifestFile", s3_uri="s3://manifests/m", s3_data_distribution_type=kind)
    text = json.dumps([{"prefix": f"s3://data/{prefix}"}, *suffixes], ensure_ascii=bool(cut % 2)).encode()
    if any(meaningful in prefix for meaningful in "*?"):
        return  # such a prefix is refused: no credentials can be limited to it
    for host in range(hosts):
        dealt = (host, hosts) if kind == "ShardedByS3Key" else (0, 1)
        same(
            lambda d=dealt: (*of_manifest(tree, prefix, suffixes, *d), prefix),
            lambda h=host: really(tree, source, h, hosts, text),
        )
