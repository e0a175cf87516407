"""What the engine is asked to create: the container of a program, as the API's document. Pure; called by `runtime`.

Source: Docker Engine API, ContainerCreate; SageMaker's container contract (a pseudo-terminal is attached, observed; the
image's USER runs the program, observed as root; no privileges).
"""

from collections.abc import Sequence
from typing import Any

from clary.runtimes.docker.engine import Engine
from clary.runtimes.port import Container, ProgramSpec

DIRECTORY_LABEL = "clary.directory"
NETWORK_LABEL = "clary.network"
INSTANCE_LABEL = "clary.instance"
GPUS_LABEL = "clary.gpus"

_HIDDEN_GPUS = "NVIDIA_VISIBLE_DEVICES"
# The engine's own copy of the output: it bridges the time in which nobody listens, and must lose no byte until then.
# `local` keeps bytes as they are (json-file does not) and takes no size for "without end".
_DOCKER_LOG = {"Type": "local", "Config": {"max-size": "1024g", "max-file": "1", "compress": "false"}}
_PODMAN_LOG = {"Type": "k8s-file", "Config": {}}


def container_document(
    spec: ProgramSpec, container: Container, *, engine: Engine, network: str, gpus: Sequence[str]
) -> dict[str, Any]:
    """The document to create the container with. `gpus` are the ids of the GPUs that it gets."""
    environment = dict(spec.environment)
    if gpus:
        environment.pop(_HIDDEN_GPUS, None)  # it hides what the device request brings
    document: dict[str, Any] = {
        "Image": container.image,
        "Hostname": spec.hostname,
        "Cmd": list(container.arguments),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Tty": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": {
            DIRECTORY_LABEL: spec.directory,
            NETWORK_LABEL: container.network,
            INSTANCE_LABEL: container.name,
            GPUS_LABEL: ",".join(gpus),
        },
        "HostConfig": _host(spec, engine=engine, network=network, gpus=gpus),
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [spec.hostname]}}},
    }
    if container.entrypoint is not None:
        document["Entrypoint"] = list(container.entrypoint)
    return document


def _host(spec: ProgramSpec, *, engine: Engine, network: str, gpus: Sequence[str]) -> dict[str, Any]:
    limits = spec.limits
    host: dict[str, Any] = {
        "NetworkMode": network,
        "Mounts": [
            {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in spec.mounts
        ],
        "LogConfig": _PODMAN_LOG if engine.is_podman else _DOCKER_LOG,
        # Frameworks pass batches between processes through shared memory, and Docker's 64 MB break their data loaders.
        # It counts as the container's memory, which bounds it.
        "ShmSize": limits.memory_bytes or engine.memory_bytes or 1 << 30,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],  # a core would land where the machine puts them
        "RestartPolicy": {"Name": "no"},
    }
    if limits.memory_bytes is not None:
        host |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}  # no swap: an instance has none
    if limits.cpus is not None:
        host["NanoCpus"] = int(min(limits.cpus, engine.cpus) * 1_000_000_000)  # more than there are is refused
    if limits.pids is not None:
        host["PidsLimit"] = limits.pids
    if gpus and engine.is_podman:
        host["DeviceRequests"] = [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={gpu}" for gpu in gpus]}]
    elif gpus:
        host["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(gpus), "Capabilities": [["gpu"]]}]
    if spec.isolated_network:
        # Raw packets could address the machine itself, and a resolver of the machine's would answer for the world.
        host |= {"CapDrop": ["NET_RAW"], "Dns": ["127.0.0.1"]}
    if engine.selinux:
        host["SecurityOpt"] = ["label=disable"]  # the job's directories carry no label that a container may read
    return host
