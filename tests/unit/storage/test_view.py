"""The tree of a FastFile channel: what is in it equals a simple model of paths."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clary.base.clock import Instant
from clary.storage.port import ObjectInfo
from clary.storage.selection import SelectionError, arrange, select_prefix
from clary.storage.view import ROOT, View, write_view

NAMES = st.text(st.sampled_from(["a", "b", "ä", "日", " ", "\n", "*", "'", "%", "."]), min_size=1, max_size=4)
KEYS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=30)


def objects(keys):
    return [ObjectInfo(key=key, size_bytes=n, etag=f'"{n}"') for n, key in enumerate(sorted(set(keys)))]


def walk(view, number=ROOT, path=""):
    """All that is below a directory: path, key or None."""
    found, after = {}, 0
    while page := view.children(number, after=after, limit=2):
        for child in page:
            place = f"{path}/{child.name}".lstrip("/")
            node = view.find(place)
            assert node.number == child.number
            assert (node.entry is None) == child.is_directory
            found[place] = node.entry
            if child.is_directory:
                found |= walk(view, child.number, place)
        after = page[-1].number
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=KEYS, prefix=st.sampled_from(["", "a/", "a", "b/"]))
def test_the_tree_is_that_of_the_selection(tmp_path, keys, prefix):
    """Every file with its object, every directory above one, folder markers; nothing else."""
    markers = [key for key in keys if key.endswith(("a", "b"))][:3]
    listed = [info for info in objects(keys) if info.key.startswith(prefix)]
    listed += [
        ObjectInfo(key=f"{key}/", size_bytes=0, etag='""')
        for key in set(markers)
        if key.startswith(prefix) and key not in {info.key for info in listed}
    ]
    try:
        selection = select_prefix(prefix, listed)
    except SelectionError:
        return
    write_view(tmp_path / "view", "bucket", selection, staged_at=Instant(7))
    view = View(tmp_path / "view")
    found = walk(view)

    files = {item.relative_path: item for item in selection.objects}
    paths = [*files, *(f"{name}/x" for name in selection.directories)]
    directories = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)}
    assert {path for path, entry in found.items() if entry is None} == directories
    for path, item in files.items():
        assert (found[path].key, found[path].size_bytes, found[path].etag) == (item.key, item.size_bytes, item.etag)
    assert len(found) == len(files) + len(directories)
    assert (view.staged_at, view.files, view.bytes) == (7, len(files), selection.size_bytes)
    view.close()


def test_what_follows_a_file_follows_in_the_selection(tmp_path):
    """In its order, over the ends of directories, and no directory among it."""
    selection = arrange((info, info.key) for info in objects([f"{n % 3}/{n}" for n in range(9)]))
    write_view(tmp_path / "view", "bucket", selection, staged_at=Instant(0))
    view = View(tmp_path / "view")
    first = view.find("0/0")

    assert [node.entry.key for node in view.following(first.number, 100)] == [i.key for i in selection.objects[1:]]
    assert [node.entry.key for node in view.following(first.number, 2)] == ["0/3", "0/6"]
    assert view.find("3") is None
    assert view.find("0/0/x") is None
    view.close()


def test_a_name_that_is_no_unicode_is_kept(tmp_path):
    """As a file system would keep it."""
    key = "a\udcff/\udcfe"
    selection = arrange([(ObjectInfo(key=key, size_bytes=0, etag='""'), key)])
    write_view(tmp_path / "view", "bucket", selection, staged_at=Instant(0))
    view = View(tmp_path / "view")

    assert view.find(key).entry.key == key
    assert [child.name for child in view.children(ROOT)] == ["a\udcff"]
    view.close()
