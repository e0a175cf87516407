"""Which paths a Python environment needs in a sandbox."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from clary.runtimes.python_paths import NoPython, python_environment_paths


def covered(path: str, paths: tuple[str, ...]) -> bool:
    return any(path == parent or path.startswith(f"{parent}/") for parent in (*paths, "/usr", "/lib", "/bin"))


def test_a_virtual_environment_needs_itself_and_its_base():
    """This test's own environment: its prefix, and the installation that its interpreter links to."""
    paths = python_environment_paths(Path(sys.prefix))
    assert covered(sys.prefix, paths)
    assert covered(sys.base_prefix, paths)
    assert covered(str(Path(sys.executable).resolve()), paths)


def test_nothing_is_listed_twice_and_parents_come_first():
    """No path lies below another one of the list, and none is what a sandbox shows anyway."""
    paths = python_environment_paths(Path(sys.prefix))
    assert list(paths) == sorted(paths)
    for path in paths:
        assert not covered(path, tuple(other for other in paths if other != path))


def test_links_on_the_way_to_the_interpreter_are_listed(tmp_path):
    """An environment whose interpreter is a link to a link elsewhere needs both places."""
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True, with_pip=False)
    shim = tmp_path / "shims" / "python3"
    shim.parent.mkdir()
    shim.symlink_to(Path(sys.executable).resolve())
    (environment / "bin" / "python").unlink()
    (environment / "bin" / "python").symlink_to("../../shims/python3")
    paths = python_environment_paths(environment)
    assert str(shim) in paths
    assert str(environment) in paths


def test_directories_from_pth_files_are_listed(tmp_path):
    """An editable installation lies elsewhere, and is needed too."""
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True, with_pip=False)
    (tmp_path / "project" / "src").mkdir(parents=True)
    purelib = subprocess.run(
        [environment / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(purelib, "project.pth").write_text(f"{tmp_path}/project/src\n")
    assert f"{tmp_path}/project/src" in python_environment_paths(environment)
    assert f"{tmp_path}/project" not in python_environment_paths(environment)


def test_an_environment_without_python_is_told(tmp_path):
    """`NoPython` names the interpreter that was tried."""
    with pytest.raises(NoPython, match="bin/python"):
        python_environment_paths(tmp_path)
