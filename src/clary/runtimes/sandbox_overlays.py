"""Overlays that the sandbox mounts for its program alone: for ordinary users, who may mount nothing else.

Called by whoever makes a `Mount` with `lower`. They are in the program's own mount namespace, and gone with it. Needs a kernel that
lets users mount overlays in namespaces of their own (Linux 5.11), and a file system below that takes them: tried, not guessed.
"""

import errno
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
    # A file above and one that is gone: what an overlay can do on some file systems, and on others not.
    touching = ["/bin/sh", "-c", ': > "$1/.probe" && rm "$1/.probe"', "sh", str(probe)]
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


def _make_directories(own: Path) -> None:
    if own.exists():
        for path in own.rglob("*"):  # the kernel leaves a closed directory
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(own)
    (own / "work").mkdir(parents=True)
    (own / "upper").mkdir()
    (own / "upper").chmod(0o755)
    own.chmod(0o700)
