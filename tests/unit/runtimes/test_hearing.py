"""Whether process 1 would get a signal, asked of real processes in namespaces of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clary.runtimes.diagnosis import find_bwrap
from clary.runtimes.hearing import hears

SAYS = """
import signal, sys, time
{}
print("said", flush=True)
time.sleep(60)
"""
ALL = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"


def first_process(what):
    """bubblewrap around process 1, which has said what it does with SIGTERM; and its process id."""
    command = [str(find_bwrap()), "--ro-bind", "/", "/", "--unshare-pid", "--as-pid-1", "--die-with-parent"]
    command += [sys.executable, "-I", "-S", "-c", SAYS.format(what)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert program.stdout.readline() == b"said\n"
    return program, int(Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text())


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("what", "heard"),
    [
        ("", False),
        ("signal.signal(signal.SIGTERM, lambda *_: None)", True),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})", True),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})", False),
        (ALL, True),
    ],
)
def test_a_signal_that_nobody_asked_for_is_not_heard(what, heard):
    """Handled, ignored or waited for; all signals blocked for long is a way to wait for one."""
    program, pid = first_process(what)
    with program:
        try:
            assert hears(pid, signal.SIGTERM) is heard
            assert hears(pid, signal.SIGKILL)
        finally:
            program.kill()


def test_nobody_else_is_judged():
    """A process that is not process 1 of a namespace below ours gets every signal; one that is gone, none that matters."""
    assert hears(os.getpid(), signal.SIGUSR2)
    assert hears(2**22 + 1, signal.SIGTERM)
