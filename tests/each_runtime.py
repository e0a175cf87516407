"""The runtimes on which the end-to-end scenarios run, and all that they see differently on each. PYTEST_DONT_REWRITE

    pytest_plugins = ["server"]
    pytestmark = pytest.mark.parametrize("server", EACH_RUNTIME, indirect=True)   # or on a single test

`server` is then a server for each runtime, one a module, and `server.runtime` is one of these.
"""

import contextlib
from pathlib import Path

import docker.errors
import pytest

import container_images


class Processes:
    """Local environments in the sandbox: no container engine."""

    name = "process"
    engine = "none"
    image = "clary/python"
    python = "python3"
    network_interface = "lo"
    isolated_interfaces = ("lo",)

    def left(self, home):
        """Nothing but processes is ever left of a job, and those are looked for by `server`."""
        return []

    def remove(self, home):
        """Nothing."""


class Containers:
    """Images on the machine's Docker engine."""

    name = "docker"
    engine = "auto"
    network_interface = "eth0"
    isolated_interfaces = ("lo", "eth0")

    @property
    def image(self):
        return container_images.python_image()

    @property
    def python(self):
        return container_images.python_path()

    def left(self, home):
        """The containers and networks of a home, by kind and name."""
        with contextlib.closing(container_images.client()) as engine:
            places = {"label": "clary.directory"}
            found = [("container", each["Names"][0], each) for each in engine.containers(all=True, filters=places)]
            found += [("network", each["Name"], each) for each in engine.networks(filters=places)]
        return [
            (kind, name.lstrip("/"))
            for kind, name, each in found
            if Path(each["Labels"]["clary.directory"]).is_relative_to(home)
        ]

    def remove(self, home):
        """Remove them all, for a test that has failed."""
        with contextlib.closing(container_images.client()) as engine:
            for kind, name in self.left(home):
                with contextlib.suppress(docker.errors.APIError):
                    if kind == "container":
                        engine.remove_container(name, force=True, v=True)
                    else:
                        engine.remove_network(name)


PROCESSES = Processes()
CONTAINERS = Containers()
EACH_RUNTIME = [
    pytest.param(PROCESSES, id=PROCESSES.name),
    pytest.param(CONTAINERS, id=CONTAINERS.name, marks=pytest.mark.docker),
]
IN_CONTAINERS = EACH_RUNTIME[1:]
