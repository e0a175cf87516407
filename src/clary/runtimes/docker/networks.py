"""The private network of a job's hosts: found by its name or made, and removed when nobody is left on it.

Called by `runtime`. Each has a small subnet of its own, chosen here, because the engine's own pools hold some thirty
networks and no more. A network without egress has no address of the machine on it either.
"""

import contextlib
import fcntl
import ipaddress
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors

from clary.runtimes.docker.container import NETWORK_LABEL
from clary.runtimes.docker.engine import Engine, explanation
from clary.runtimes.port import CannotStart

#: 198.18.0.0/15 is for benchmarks of routers (RFC 2544): nobody routes it, so that it hides nothing from a container.
SUBNETS = ("198.18.0.0/15", "10.220.0.0/16")
_PREFIX = 26  # 61 hosts a job
_TRIES = 50

Subnet = ipaddress.IPv4Network


@contextlib.contextmanager
def turn(instances: Path) -> Iterator[None]:
    """One at a time among the instances of a home: networks and GPUs are chosen by looking at those of the others."""
    lock = os.open(instances / ".containers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def ensure_network(
    client: docker.APIClient, name: str, *, isolated: bool, engine: Engine, labels: dict[str, str]
) -> str:
    """The id of the network, made if need be. To be called in one's `turn`: names of networks are not unique.

    Raises `CannotStart` when no subnet is left, and what the engine answers.
    """
    found = client.networks(names=[name])
    for network in found:
        if network["Name"] == name:  # the filter also finds parts of names
            return str(network["Id"])
    taken = set(_taken(client))
    for _ in range(_TRIES):
        subnet = free_subnet(SUBNETS, taken)
        if subnet is None:
            raise CannotStart(
                f"No subnet for the job's network is left in {', '.join(SUBNETS)}: the machine routes them elsewhere, or "
                "too many networks are there. Cure: docker network prune"
            )
        options = {"com.docker.network.bridge.inhibit_ipv4": "true"} if isolated and not engine.is_podman else {}
        pool = docker.types.IPAMPool(subnet=str(subnet))
        try:
            made = client.create_network(
                name,
                driver="bridge",
                internal=isolated,
                check_duplicate=True,
                options=options,
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                labels={NETWORK_LABEL: name, **labels},
            )
        except docker.errors.APIError as error:
            if "overlap" not in explanation(error).lower() and "already used" not in explanation(error).lower():
                raise
            taken.add(subnet)  # by somebody who was faster, or who is not on the engine's list
            continue
        return str(made["Id"])
    raise CannotStart("The container engine refuses every subnet for the job's network")


def remove_if_empty(client: docker.APIClient, name: str) -> bool:
    """Remove the network unless a container of ours is still to use it; whether it was there and is removed."""
    if client.containers(all=True, filters={"label": f"{NETWORK_LABEL}={name}"}):
        return False
    removed = False
    for network in client.networks(names=[name]):
        if network["Name"] == name:
            try:
                client.remove_network(network["Id"])
                removed = True
            except docker.errors.NotFound:
                pass
            except docker.errors.APIError as error:
                if not _in_use(error):
                    raise
                # Somebody is on it again, and removes it later.
    return removed


def _in_use(error: docker.errors.APIError) -> bool:
    """Docker answers 403, or 409; Podman 500 and says so."""
    status = None if error.response is None else error.response.status_code
    return status in {403, 409} or "network is being used" in explanation(error)


def free_subnet(pools: Iterable[str], taken: Iterable[Subnet]) -> Subnet | None:
    """The first subnet of the pools that overlaps none that is taken. Pure."""
    occupied = sorted(taken, key=lambda subnet: (int(subnet.network_address), subnet.prefixlen))
    for pool in map(ipaddress.IPv4Network, pools):
        for candidate in pool.subnets(new_prefix=_PREFIX):
            if not any(candidate.overlaps(other) for other in occupied):
                return candidate
    return None


def _taken(client: docker.APIClient) -> Iterable[Subnet]:
    for network in client.networks():
        for config in (network.get("IPAM") or {}).get("Config") or ():
            yield from _subnets(config)
    yield from routed(Path("/proc/net/route").read_text())


def _subnets(config: dict[str, Any]) -> Iterable[Subnet]:
    try:
        yield ipaddress.IPv4Network(config.get("Subnet", ""), strict=False)
    except ValueError:
        return  # IPv6, or none


def routed(table: str) -> Iterable[Subnet]:
    """The networks that /proc/net/route sends somewhere, the default route excepted. Source: proc(5). Pure."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(field)[::-1], "big") for field in (fields[1], fields[7]))
        if mask:
            yield ipaddress.IPv4Network((address & mask, mask.bit_count()))
