"""Numbers of bytes as people read them."""


def format_size(count: float) -> str:
    """A number of bytes in the largest unit of which there is one at least."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"
