"""Whether code runs in plain Python or is being compiled by `jit.script`, for those who have to know."""

__all__ = ["is_scripting"]


def is_scripting() -> bool:
    """Whether the code runs compiled: False in plain Python, True in what `jit.script` makes of it."""
    return False
