"""What engines answer when they refuse: status and text, Docker's (recorded from 20.10.24) and Podman's (read off its
sources and issues). Used by `engine_api`.
"""

_RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
_NOT_FOUND = "OCI runtime attempted to invoke a command that was not found"

WORDS = {
    "no page": ((404, "page not found"), (404, "Path not found")),
    "no container": (
        (404, "No such container: {name}"),
        (404, 'no container with name or ID "{name}" found: no such container'),
    ),
    "no image": (
        (404, "no such image: {name}: No such image: {name}"),
        (404, "failed to find image {name}: {name}: No such image"),
    ),
    "create: no image": ((404, "No such image: {name}"), (404, "no such image: {name}: image not known")),
    # Podman: the registry's status if nothing came before the error, else 500.
    "pull: no image": (
        (404, "manifest for {name} not found: manifest unknown: manifest unknown"),
        (404, "manifest unknown"),
    ),
    "create: name taken": (
        (
            409,
            (
                'Conflict. The container name "/{name}" is already in use by container "{id}". You have to remove (or rename) '
                "that container to be able to reuse that name."
            ),
        ),
        (
            409,
            (
                'container create: creating container storage: the container name "{name}" is already in use by {id}. You have '
                "to remove that container to be able to reuse that name: that name is already in use"
            ),
        ),
    ),
    "create: log driver": (
        (500, "logger: no log driver named '{name}' is registered"),
        (500, "container create: invalid log driver: invalid argument"),
    ),
    "create: no mount source": (
        (400, 'invalid mount config for type "bind": bind source path does not exist: {name}'),
        (500, "never said: Podman makes the directory"),
    ),
    "start: missing": (
        (400, _RUNC + 'exec: "{name}": executable file not found in $PATH: unknown'),
        (500, "crun: executable file `{name}` not found in $PATH: No such file or directory: " + _NOT_FOUND),
    ),
    "start: forbidden": (
        (400, _RUNC + 'exec: "{name}": permission denied: unknown'),
        (500, "crun: open executable: Permission denied: OCI permission denied"),
    ),
    "kill: not running": (
        (409, "Cannot kill container: {name}: Container {id} is not running"),
        (409, "can only kill running containers. {id} is in state {state}: container state improper"),
    ),
    "wait: condition": (
        (400, 'invalid condition: "{name}"'),
        (400, "failed to parse query parameter 'condition': \"{name}\": not a valid docker condition"),
    ),
    "logs: no stream": (
        (400, "Bad parameters: you must choose at least one stream"),
        (400, "Bad Request: you must choose at least one stream for /logs"),
    ),
    "remove: running": (
        (
            409,
            "You cannot remove a running container {id}. Stop the container before attempting removal or force remove",
        ),
        (
            500,
            (
                "cannot remove container {id} as it is running - running or paused containers cannot be removed without force: "
                "container state improper"
            ),
        ),
    ),
    "no network": (
        (404, "network {name} not found"),
        (404, "unable to find network with name or ID {name}: network not found"),
    ),
    "network: name taken": (
        (409, "network with name {name} already exists"),
        (409, "network name {name} already used: network already exists"),
    ),
    "network: overlap": (
        (403, "Pool overlaps with other one on this address space"),
        (500, "subnet {name} is already used on the host or by another config"),
    ),
    "network: in use": (
        (403, "error while removing network: network {name} id {id} has active endpoints"),
        (
            500,
            '"{name}" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used',
        ),
    ),
}


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def refusal(what, *, podman, **facts):
    """The engine's words for it."""
    status, text = WORDS[what][podman]
    return Refused(status, text.format(**facts))
