"""Containers and networks of ours whose instance is gone: what is left when a home was deleted, or a release was cut short.

Called by `app` now and then. Only what lies below the home's own instances is looked at: another home's are its own.
"""

from pathlib import Path

import docker.errors

from clary.base.telemetry import get_logger
from clary.runtimes.docker.container import DIRECTORY_LABEL, NETWORK_LABEL
from clary.runtimes.docker.engine import connect
from clary.runtimes.docker.networks import remove_if_empty, turn

_log = get_logger("runtimes")


def remove_orphans(url: str, instances: Path) -> None:
    """Remove them, each with a line in the log. Raises `EngineAway`, and what the engine answers."""
    with connect(url) as client:
        for found in client.containers(all=True, filters={"label": DIRECTORY_LABEL}):
            directory = Path(found["Labels"][DIRECTORY_LABEL])
            if not directory.is_relative_to(instances) or directory.exists():
                continue
            _log.warning("orphaned container removed", container=found["Names"][0].lstrip("/"))
            try:
                client.remove_container(found["Id"], v=True, force=True)
            except docker.errors.APIError as error:
                _log.warning("orphaned container not removed", container=found["Id"], error=str(error))
        with turn(instances):
            for found in client.networks(filters={"label": f"{DIRECTORY_LABEL}={instances}"}):
                name = found["Labels"][NETWORK_LABEL]
                if remove_if_empty(client, name):
                    _log.warning("orphaned network removed", network=name)
