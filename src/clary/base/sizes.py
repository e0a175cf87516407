"""Numbers of bytes for readers."""


def size_text(size_bytes: int) -> str:
    """A number of bytes as people read it, in decimal units: "120.4 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes} bytes"
