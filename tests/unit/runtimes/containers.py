"""Programs in real containers, for the tests beside this file."""

import os
import uuid
from pathlib import Path

import msgspec

from clary.runtimes.docker.engine import find_engine
from clary.runtimes.docker.runtime import DockerRuntime
from clary.runtimes.port import Container, Limits, Mount, ProgramSpec, Running
from container_images import client, shell_image
from unit.runtimes.sandboxes import until

URL = find_engine("auto", os.environ)


class Containers:
    """Starts programs below one directory, as the instances of a home, and gives everything back."""

    def __init__(self, root: Path) -> None:
        self.instances = root / "instances"
        self.instances.mkdir()
        self.runtime = DockerRuntime(URL)
        self.token = uuid.uuid4().hex[:8]

    def spec(
        self, script: str, *, host="algo-1", job="job", image=None, entrypoint=("sh", "-c"), **more
    ) -> ProgramSpec:
        root = self.instances / f"{job}-{host}"
        opt_ml = root / "opt_ml"
        opt_ml.mkdir(parents=True, exist_ok=True)
        opt_ml.chmod(0o777)
        arguments = (script,) if entrypoint else tuple(script.split())
        return ProgramSpec(
            argv=("unused",),
            environment=more.pop("environment", {}),
            hostname=host,
            hosts={},
            mounts=(Mount(source=str(opt_ml), target="/opt/ml", read_only=False), *more.pop("mounts", ())),
            directory=str(root / "program"),
            output=str(root / "output.raw"),
            isolated_network=more.pop("isolated_network", False),
            limits=more.pop("limits", Limits()),
            container=Container(
                name=f"{job}-{host}-{self.token}",
                image=image or shell_image(),
                network=f"{job}-{self.token}",
                entrypoint=entrypoint,
                arguments=arguments,
            ),
            **more,
        )

    def start(self, script: str, **more) -> ProgramSpec:
        spec = self.spec(script, **more)
        self.runtime.start(spec)
        return spec

    def run(self, script: str, **more):
        """Run a program to its end; return its state and what it printed."""
        spec = self.start(script, **more)
        return self.end(spec), self.output(spec)

    def output(self, spec: ProgramSpec) -> str:
        path = Path(spec.output)
        return path.read_bytes().decode() if path.exists() else ""

    def end(self, spec: ProgramSpec, runtime=None):
        runtime = runtime or self.runtime
        directory = Path(spec.directory)
        until(lambda: not isinstance(runtime.state(directory), Running))
        return runtime.state(directory)

    def printed(self, spec: ProgramSpec, text: str) -> None:
        until(lambda: text in self.output(spec))

    def name(self, spec: ProgramSpec) -> str:
        return msgspec.json.decode((Path(spec.directory) / "container.json").read_bytes())["name"]

    def inspect(self, spec: ProgramSpec):
        with client() as engine:
            return engine.inspect_container(self.name(spec))

    def mine(self):
        """The names of all containers and networks that belong to this directory."""
        with client() as engine:
            label = {"label": "clary.directory"}
            containers = [
                found["Names"][0]
                for found in engine.containers(all=True, filters=label)
                if found["Labels"]["clary.directory"].startswith(str(self.instances))
            ]
            networks = [
                found["Name"] for found in engine.networks(filters={"label": f"clary.directory={self.instances}"})
            ]
        return containers, networks

    def close(self) -> None:
        for program in self.instances.glob("*/program"):
            DockerRuntime(URL).release(program)
        assert self.mine() == ([], [])
