"""The instance program as a process of its own, with a directory for S3: `python instance_agent.py S3_ROOT GRACE ARGS…`.

Everything else is as `python -m clary.instance` has it, the sandboxed program among it.
"""

import sys
from pathlib import Path

from clary.instance.__main__ import leave_with, main
from clary.storage.directory import DirectoryStorage

if __name__ == "__main__":
    storage = DirectoryStorage(Path(sys.argv[1]))
    leave_with(
        main(
            sys.argv[3:],
            storage_for=lambda _task, _grants: lambda _access, _location: storage,
            grace_s=float(sys.argv[2]),
        )
    )
