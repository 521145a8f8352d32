"""The `ingot` command: run, inspect, show, time, compile and export compiled models.

Exit codes: 0 where all went well, 1 where a program failed or a check did not pass, 2 for wrong usage and for input
that cannot be used, 130 after an interrupt. Errors are one line on standard error; with `--json` standard output is one
JSON object in every case.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TextIO

from ..ir.location import printable
from .errors import CommandError
from .parser import make_parser
from .result import Result, to_json

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` are those of the process by default.

    >>> main(["cache", "info", "--json"])  # doctest: +ELLIPSIS
    {"directory": "...", "entries": ..., "bytes": ..., "limit": ...}
    0
    """
    parser = make_parser()
    try:
        options = parser.parse_args(arguments)
    except CommandError as error:
        return _report(error, "--json" in (sys.argv[1:] if arguments is None else arguments))
    except SystemExit as stop:  # argparse printed the help or the version
        return stop.code if isinstance(stop.code, int) else EXIT_BAD_INPUT
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            result = options.command(options)
            _print(result, options.json)
            sys.stdout.flush()
    except BrokenPipeError:
        # Who reads the output had enough; the interpreter would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ingot: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if os.environ.get("INGOT_DEBUG"):
            traceback.print_exc()
        return _report(error, options.json)
    return 0 if result is None else result.code


def _print(result: Result | None, as_json: bool) -> None:
    if result is None:
        return
    if as_json:
        print(to_json(result.data))
    elif result.text:
        # What a file says goes to a terminal: as text, not as commands to it.
        print("\n".join(map(printable, result.text.split("\n"))))


def _report(error: Exception, as_json: bool) -> int:
    """Say what went wrong in one line, and return the exit code."""
    code, message = exit_code(error), one_line(error)
    if as_json:
        print(to_json({"error": message, "kind": type(error).__name__, "exit_code": code}))
    print(f"ingot: {printable(message)}", file=sys.stderr)
    return code


def exit_code(error: Exception) -> int:
    """The exit code for an error: 2 where the input is to blame, 1 where running it failed."""
    from ..jit.errors import LoadError

    if isinstance(error, CommandError):
        return error.code
    return EXIT_BAD_INPUT if isinstance(error, (LoadError, OSError)) else EXIT_FAILED


def one_line(error: Exception) -> str:
    """An error as one line of text."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if isinstance(error, CommandError) or type(error).__module__.startswith("ingot."):
        return text
    return f"{type(error).__name__}: {text}" if lines else text


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"ingot: warning: {str(message).splitlines()[0]}", file=sys.stderr)
