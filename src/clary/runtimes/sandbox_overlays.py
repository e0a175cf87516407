"""Overlays that the sandbox mounts for its program alone: for ordinary users, who may mount nothing else.

Called for `instance.cached_channels`, which makes a `Mount` with `lower`. They are in the program's own mount namespace, and gone with it. Needs a kernel that
lets users mount overlays in namespaces of their own (Linux 5.11), and a file system below that takes them: tried, not guessed.
"""

import errno
import os
import shutil
import subprocess
from pathlib import Path

from clary.runtimes.diagnosis import find_bwrap
from clary.runtimes.sandbox import overlay_options

_WITHIN_S = 10


def make(lower: Path, own: Path) -> None:
    """Make the directory `own` anew, for what a program changes of `lower`, and try the overlay once; takes some 10 ms.

    Raises `OSError` with the reason if there can be none here.
    """
    _make_directories(own)
    probe = own / "probe"
    probe.mkdir()
    mounting = ["--unshare-user", "--dev-bind", "/", "/", *overlay_options(str(lower), str(own), str(probe))]
    # What needs more of a file system than others have: a file that is gone, and a directory in its place.
    touched = probe / _some_file(lower)
    touching = ["/bin/sh", "-c", 'rm -f -- "$1" && mkdir -- "$1"', "sh", str(touched)]
    try:
        tried = subprocess.run(
            [find_bwrap(), *mounting, "--", *touching],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            timeout=_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, str(error)) from None
    if tried.returncode != 0:
        said = tried.stderr.decode(errors="replace").strip()
        raise OSError(errno.ENOTSUP, f"the sandbox can mount no overlay: {said}")
    _make_directories(own)


def _some_file(directory: Path) -> Path:
    """Any file of a directory, by its path in it."""
    return next(
        (Path(top, files[0]).relative_to(directory) for top, _, files in os.walk(directory) if files), Path("file")
    )


def _make_directories(own: Path) -> None:
    if own.exists():
        closed = own / "work" / "work"  # by the kernel, against everybody
        if closed.exists():
            closed.chmod(0o700)
        shutil.rmtree(own)
    (own / "work").mkdir(parents=True)
    (own / "upper").mkdir()
    (own / "upper").chmod(0o755)
    own.chmod(0o700)
