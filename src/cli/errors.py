"""The error of commands."""

__all__ = ["CommandError"]


class CommandError(Exception):
    """What a command reports in one line, with the exit code: 2 for input that cannot be used, 1 for a failure."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code
