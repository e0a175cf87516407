"""Several things that are wrong, as one text of bounded length. Used by the rules of algorithms and of jobs by algorithms."""

from collections.abc import Sequence

SHOWN_MAX = 20
SHOWN_MAX_CHARACTERS = 500
"""More is of no use to a caller, and would let a small request ask for an enormous answer."""


def as_text(problems: Sequence[str]) -> str:
    """The problems, joined; what is too many or too long is left out and said to be."""
    shown = [p if len(p) <= SHOWN_MAX_CHARACTERS else p[:SHOWN_MAX_CHARACTERS] + "…" for p in problems[:SHOWN_MAX]]
    if len(problems) > SHOWN_MAX:
        shown.append(f"and {len(problems) - SHOWN_MAX} more")
    return "; ".join(shown)
