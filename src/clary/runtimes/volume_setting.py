"""What the setting `volumes` comes to on this machine: whether instances get volumes, and what is refused without.

Used by `app`. "auto": they do where they can be made; "required": they do, and no job is taken where they cannot; "off".
"""

from collections.abc import Callable
from pathlib import Path

from clary.base.telemetry import get_logger
from clary.runtimes import volumes

_log = get_logger("runtimes")


class VolumeSetting:
    """The setting, for instances whose disks lie below `directory`. Tries once whether volumes can be made; takes some 30 ms."""

    def __init__(
        self, setting: str, directory: Path, *, problem: Callable[[Path], str | None] = volumes.problem
    ) -> None:
        self._setting = setting
        self._why = None if setting == "off" else problem(directory)
        if self._why is not None:
            _log.info("VolumeSizeInGB is no limit here", why=self._why)

    def given(self) -> bool:
        """Whether instances get volumes."""
        return self._setting != "off" and self._why is None

    def problem(self) -> str | None:
        """Why no job can be taken, with the cure."""
        if self._setting != "required" or self._why is None:
            return None
        return f"The setting `volumes` asks for volumes, and there are none: {self._why}, and start Clary again"
