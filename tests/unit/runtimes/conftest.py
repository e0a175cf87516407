"""Fixtures of the runtimes' own tests."""

import json

import pytest

from unit.runtimes.sandboxes import Sandboxes


@pytest.fixture
def sandboxes(tmp_path):
    sandboxes = Sandboxes(tmp_path)
    yield sandboxes
    sandboxes.close()


@pytest.fixture
def helper(tmp_path):
    """Makes a credential helper, `helper(name, user=password)` or `helper(name, says=why_not)`; its command.

    What it was asked stands in the file `asked-NAME`.
    """

    def make(name, *, says=None, **login):
        program = tmp_path / name
        user, secret = next(iter(login.items()), ("", ""))
        answer = (
            f'echo "{says}"; exit 1'
            if says is not None
            else f"echo '{json.dumps({'Username': user, 'Secret': secret})}'"
        )
        program.write_text(f'#!/bin/sh\nread server\necho "$1 $server" > {tmp_path}/asked-{name}\n{answer}\n')
        program.chmod(0o755)
        return (str(program),)

    return make
