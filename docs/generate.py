"""Writes the pages of the documentation that are drawn from the code's own tables: `make docs`.

A test writes them again and compares, so that they cannot drift.
"""

from collections.abc import Iterable
from pathlib import Path

from clary.base.settings import SETTINGS
from clary.jobs.status import MESSAGES, STATUS_OF, TRANSITIONS
from clary.service.algorithm_members import ALGORITHM_MEMBERS
from clary.service.members import MEMBERS, Member
from clary.service.operations import OPERATIONS
from clary.service.update_members import UPDATE_MEMBERS

HERE = Path(__file__).parent
GENERATED = "<!-- Written by `make docs` from the code. Do not edit. -->\n\n"


def members() -> str:
    """Every member of CreateTrainingJob and UpdateTrainingJob."""
    lines = [
        "# CreateTrainingJob, member by member\n",
        *_HOW_TO_READ,
        *_rows(MEMBERS),
        "\n## UpdateTrainingJob, member by member\n",
        *_rows(UPDATE_MEMBERS),
    ]
    return "\n".join(lines) + "\n"


def algorithm_members() -> str:
    """Every member of CreateAlgorithm."""
    return "\n".join(["# CreateAlgorithm, member by member\n", *_HOW_TO_READ, *_rows(ALGORITHM_MEMBERS)]) + "\n"


_HOW_TO_READ = (
    "No member is accepted and ignored. A member **acts**, is **recorded** (Describe shows it again, nothing else",
    "happens), or is **refused** with a ValidationException that names it. A refused member may still be set to a",
    "value that changes nothing: false, 0, empty, or one of the values in brackets. A row speaks for everything",
    "below it that has no row of its own.\n",
)


def _rows(members: Iterable[Member]) -> list[str]:
    lines = ["| member | what becomes of it | why |", "|---|---|---|"]
    for member in members:
        passes = f" (except {', '.join(f'`{value}`' for value in member.passes)})" if member.passes else ""
        why = member.why[0].upper() + member.why[1:]
        lines.append(f"| `{member.path}` | {member.effect}{passes} | {why if why.endswith('.') else why + '.'} |")
    return lines


def states() -> str:
    """The state machine of a job."""
    lines = [
        "# States of a training job\n",
        "`TrainingJobStatus` follows from `SecondaryStatus`. What is not drawn here cannot happen.\n",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> Starting",
    ]
    for status, moves in TRANSITIONS.items():
        lines += [f"    {status} --> {target}: {event}" for event, target in moves.items()]
        if not moves:
            lines.append(f"    {status} --> [*]")
    lines += ["```\n", "| SecondaryStatus | TrainingJobStatus | first StatusMessage |", "|---|---|---|"]
    lines += [f"| {status} | {STATUS_OF[status]} | {MESSAGES[status]} |" for status in TRANSITIONS]
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Every setting."""
    lines = [
        "# Settings\n",
        "A setting comes from the command line (`--home`, `--listen`, `--config`), else from the environment, else from",
        "the TOML file, else it has its default. A name or value that Clary does not know is refused at start.\n",
        "| name in the TOML file | environment variable | default | what it is |",
        "|---|---|---|---|",
    ]
    for setting in SETTINGS:
        default = "4, or twice the processors if that is more" if setting.name == "instances" else setting.default
        lines.append(
            f"| `{setting.name}` | `CLARY_{setting.name.upper()}` | {f'`{default}`' if default else ''} | {setting.help} |"
        )
    return "\n".join(lines) + "\n"


def operations() -> str:
    """Every operation that is answered."""
    lines = [
        "# Operations\n",
        "Every other operation of these services answers `UnsupportedOperationException` and names itself. S3 is passed",
        "on to the embedded store, whole.\n",
        "| service | operations |",
        "|---|---|",
    ]
    lines += [f"| {service} | {', '.join(sorted(names))} |" for service, names in OPERATIONS.items()]
    return "\n".join(lines) + "\n"


PAGES = {
    "create-algorithm.md": algorithm_members,
    "create-training-job.md": members,
    "operations.md": operations,
    "states.md": states,
    "settings.md": settings,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(GENERATED + page())


if __name__ == "__main__":
    main()
