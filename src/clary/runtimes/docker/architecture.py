"""Whether an image's programs can run on this machine's processor. Called by `pull`."""

from pathlib import Path

BINFMT_MISC = Path("/proc/sys/fs/binfmt_misc")

_QEMU_NAMES = {"amd64": "x86_64", "386": "i386", "arm64": "aarch64"}
"""What QEMU calls the architectures whose names in images differ."""

_NATIVE_TOO = frozenset({("amd64", "386"), ("arm64", "arm")})
"""(machine, image): kernels that run both."""


def architecture_problem(image: str, of_image: tuple[str, str], of_engine: tuple[str, str], binfmt: Path) -> str | None:
    """Why an image does not run here, with the cure; None if it does. Pairs are operating system and architecture.

    `binfmt` is where the kernel lists its handlers of foreign programs. An image that does not tell (one that was imported)
    passes.
    """
    if of_image == of_engine or not all(of_image) or not all(of_engine):
        return None
    runs = (of_engine[1], of_image[1]) in _NATIVE_TOO or _is_emulated(of_image[1], binfmt)
    if of_image[0] == of_engine[0] and runs:
        return None
    theirs, ours = "/".join(of_image), "/".join(of_engine)
    return (
        f"The training image '{image}' is built for {theirs}, and this machine is {ours}. Build it for {ours} "
        f"(docker build --platform {ours}), name a tag or digest that is, or let the kernel emulate {of_image[1]} (packages "
        "qemu-user-static and binfmt-support)."
    )


def _is_emulated(architecture: str, binfmt: Path) -> bool:
    handler = binfmt / f"qemu-{_QEMU_NAMES.get(architecture, architecture)}"
    try:
        return handler.read_text().startswith("enabled")
    except OSError:
        return False
