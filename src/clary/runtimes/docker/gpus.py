"""Which of the machine's GPUs a program gets. Called by `runtime`; the choice is pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def machine_gpus() -> tuple[str, ...]:
    """The indices of the machine's GPUs, as the NVIDIA runtime counts them; empty without the driver."""
    try:
        return tuple(str(index) for index, _ in enumerate(_NVIDIA.iterdir()))
    except FileNotFoundError:
        return ()


def choose_gpus(available: Sequence[str], taken: Iterable[str], count: int) -> tuple[str, ...]:
    """The `count` GPUs that the fewest others use, or all if there are not so many. `taken` holds one entry a user."""
    users = Counter(taken)
    return tuple(
        sorted(sorted(available, key=lambda gpu: (users[gpu], len(gpu), gpu))[:count], key=lambda g: (len(g), g))
    )
