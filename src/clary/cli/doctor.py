"""`clary doctor`: what this machine offers, on a terminal, into a pipe, or as JSON for programs.

Called by `main`. The findings come from `clary.doctor`; here is only how they look.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clary.doctor.examination import examine
from clary.doctor.finding import Finding, Level, can_train, verdict

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.MISSING: "bold red"}


def run(command_line: Mapping[str, str | None], output: TextIO, *, as_json: bool) -> int:
    """Examine, print, and answer the exit code: 0 when training can run at all, else 1."""
    findings = examine(command_line, os.environ)
    if as_json:
        output.write(as_document(findings) + "\n")
    elif output.isatty():
        show(findings, Console(file=output))
    else:
        output.write(as_lines(findings))
    return 0 if can_train(findings) else 1


def as_document(findings: Sequence[Finding]) -> str:
    """A JSON object: `can_train`, `verdict`, and `findings`, each with `name`, `level`, `found` and `cure` (or null)."""
    document = {"can_train": can_train(findings), "verdict": verdict(findings), "findings": findings}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def as_lines(findings: Sequence[Finding]) -> str:
    """A line for each finding, a line for its cure, and the verdict."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<8} {finding.name}: {finding.found}")
        if finding.cure:
            lines.append(f"         cure: {finding.cure}")
    return "\n".join([*lines, verdict(findings)]) + "\n"


def show(findings: Sequence[Finding], console: Console) -> None:
    """The same in columns and colours, wrapped at the width of the terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.found)
        if finding.cure:
            said.append("\ncure: ", style="bold").append(finding.cure)
        table.add_row(Text(finding.level, style=_STYLES[finding.level]), Text(finding.name), said)
    console.print(table)
    console.print()
    console.print(Text(verdict(findings), style="bold green" if can_train(findings) else "bold red"))
