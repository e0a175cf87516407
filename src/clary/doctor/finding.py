"""What `clary doctor` says about one thing, and whether all of it together lets training run. Pure.

Made by the other modules of this room, shown by `clary.cli.doctor`.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How it stands: as it should be; at work, but not as well as it could be; not there, or not usable."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing of this machine: what was found and, unless all is well, what to do about it, each in one line."""

    name: str
    level: Level
    found: str
    cure: str | None = None


VITAL = frozenset({"python", "settings", "catalogue", "store", "home", "disk", "listen", "volumes"})
"""Without one of these the server does not start, or takes no job (volumes, where they are required)."""

PROCESS, ENGINE = "sandbox", "engine"
"""The two that run programs, of which one is enough."""


def ok(name: str, found: str) -> Finding:
    """As it should be."""
    return Finding(name=name, level=Level.OK, found=found)


def warning(name: str, found: str, cure: str) -> Finding:
    """Worse than it could be."""
    return Finding(name=name, level=Level.WARNING, found=found, cure=cure)


def missing(name: str, found: str, cure: str) -> Finding:
    """Not there, or not usable."""
    return Finding(name=name, level=Level.MISSING, found=found, cure=cure)


def from_problem(name: str, problem: str | None, well: str) -> Finding:
    """A finding from a text that says what is wrong and then "Cure: …", as the runtimes word it; None: all is `well`."""
    if problem is None:
        return ok(name, well)
    found, _, cure = " ".join(problem.split()).partition(" Cure: ")
    cure, _, said = cure.partition(". bubblewrap said: ")
    return missing(name, f"{found} (bubblewrap said: {said})" if said else found, cure or "see what was found")


def can_train(findings: Iterable[Finding]) -> bool:
    """Whether any training job can run: the server starts, and there is something to run programs with."""
    lacking = {finding.name for finding in findings if finding.level is Level.MISSING}
    return not lacking & VITAL and not {PROCESS, ENGINE} <= lacking


def verdict(findings: Iterable[Finding]) -> str:
    """One sentence: what can run here."""
    findings = tuple(findings)
    lacking = {finding.name for finding in findings if finding.level is Level.MISSING}
    if not can_train(findings):
        return (
            f"Training cannot run here yet. Look first at: {', '.join(sorted(lacking & (VITAL | {PROCESS, ENGINE})))}."
        )
    if ENGINE in lacking:
        return "Training can run here: built-in algorithms and Python environments. Images need a container engine."
    if PROCESS in lacking:
        return (
            "Training can run here: images, in containers. Built-in algorithms and Python environments need a sandbox."
        )
    return "Training can run here: built-in algorithms and Python environments in sandboxes, images in containers."
