"""The addresses of a job's hosts, all of which are on this machine. Pure; called by `run_training`.

Each host gets an address of its own in 127.0.0.0/8, so that every one can listen on the same port, as the frameworks'
launchers expect. Job and attempt choose the network, so that jobs side by side hardly ever meet (one in 65,000).
"""

import hashlib

from clary.jobs.task import InstanceTask


def addresses(task: InstanceTask) -> dict[str, str]:
    """The address of each host by its name, the same on every host of the attempt."""
    digest = hashlib.sha256(f"{task.training_job_arn}#{task.attempt}".encode()).digest()
    network = f"127.{1 + digest[0] % 254}.{digest[1]}"  # never 127.0.x: that is where everybody else listens
    return {host: f"{network}.{number}" for number, host in enumerate(task.hosts, start=1)}
