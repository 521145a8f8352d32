"""Sizes and times as text."""

__all__ = ["size_text", "time_text"]


def size_text(count: int) -> str:
    """Bytes as text.

    >>> size_text(800), size_text(153_704)
    ('800 B', '153.7 kB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000 or unit == "GB":
            break
    return f"{value:.1f} {unit}"


def time_text(microseconds: float) -> str:
    """A time as text.

    >>> time_text(12.34), time_text(45_600)
    ('12.3 us', '45.6 ms')
    """
    return f"{microseconds:.1f} us" if microseconds < 1000 else f"{microseconds / 1e3:.1f} ms"
