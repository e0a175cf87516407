"""Keeps an eye on the container engine, so that no request has to wait for one that does not answer. Used by `app`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import docker.errors

from clary.base.telemetry import get_logger
from clary.runtimes.docker.engine import engine_problem, find_engine
from clary.runtimes.docker.orphans import remove_orphans
from clary.runtimes.port import EngineAway

_LOOK_EVERY_S = 10.0
_SWEEP_EVERY_LOOKS = 6

_log = get_logger("runtimes")


class EngineWatch:
    """What the engine was like a moment ago. `setting` is as in `find_engine`; `instances` is where ours lie."""

    def __init__(self, setting: str, environment: Mapping[str, str], instances: Path) -> None:
        self._setting = setting
        self._environment = environment
        self._instances = instances
        self._known: str | None = ""
        self.url: str | None = None
        self.problem: str | None = None

    async def look(self) -> None:
        """Look for the engine, and ask it how it is. One that was installed since the last look is found."""
        self.url = find_engine(self._setting, self._environment)
        self.problem = await asyncio.to_thread(engine_problem, self.url)
        if self.problem != self._known:
            self._known = self.problem
            _log.info("container engine", url=self.url, problem=self.problem)

    async def run(self) -> None:
        """Look again and again, and remove what belongs to no instance any more, until cancelled."""
        looks = 0
        while True:
            if self.url is not None and self.problem is None and looks % _SWEEP_EVERY_LOOKS == 0:
                try:
                    await asyncio.to_thread(remove_orphans, self.url, self._instances)
                except (EngineAway, docker.errors.APIError, OSError) as error:
                    _log.warning("orphans not looked for", error=str(error))
            looks += 1
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()
