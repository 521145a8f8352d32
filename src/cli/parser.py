"""The commands and their options. What a command needs is imported when it runs, so that `--help` is quick."""

import argparse
import importlib
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import CommandError

__all__ = ["make_parser"]

_EXAMPLE_HELP = (
    "an example argument, once for each: dtype and sizes (f32[1,784], i64[8]), a number, true, false, or a .npy file"
)


def _command(module: str) -> Callable[[argparse.Namespace], Any]:
    """The function `command` of a module of this package, imported when it is called."""

    def run(options: argparse.Namespace) -> Any:
        return importlib.import_module(f".{module}", __package__).command(options)

    return run


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="ingot", description="Run, inspect, time, compile and export compiled models.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, module: str, summary: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False
        )
        added.add_argument("--json", action="store_true", help="print one JSON object")
        added.set_defaults(command=_command(module))
        return added

    run = add("run", "run", "Run a model on inputs and write its outputs.")
    _model(run)
    _inputs(run)
    run.add_argument(
        "--output", "-o", action="append", default=[], metavar="FILE",
        help=".npy, .npz or .json; once for each result, or one .npz or .json for all (default: print them)",
    )  # fmt: skip
    _method(run)
    run.add_argument("--trust", action="store_true", help="run machine code that somebody else compiled")

    show = add("show", "show", "Print a model's graphs and kernels.")
    _model(show)
    show.add_argument("--kernels", action="store_true", help="print the generated kernels, too")
    show.add_argument("--optimised", action="store_true", help="print the graphs after the optimiser's passes")
    show.add_argument("--html", metavar="FILE", help="write a page with the graph as a drawing")

    inspect = add("inspect", "inspect", "Say what is in a model's file: signature, sizes, machine code and its trust.")
    _model(inspect)

    bench = add("bench", "bench", "Time a model, beside ONNX Runtime or PyTorch if asked.")
    _model(bench)
    _inputs(bench)
    _method(bench)
    bench.add_argument("--size", action="append", default=[], metavar="NAME=N", help="a size for random inputs")
    bench.add_argument("--seconds", type=float, default=2.0, help="how long to measure each (default: 2)")
    bench.add_argument("--threads", type=int, help="how many threads to run on")
    bench.add_argument("--trust", action="store_true", help="run machine code that somebody else compiled")
    bench.add_argument(
        "--against", action="append", default=[], metavar="FILE",
        help="the same model for a peer: .onnx for ONNX Runtime, .pt for PyTorch (torch.jit.load)",
    )  # fmt: skip

    compile_ = add("compile", "compile_", "Compile a function or module of a Python file, or an ONNX model.")
    compile_.add_argument("source", metavar="FILE.py:NAME|FILE.onnx", help="what to compile; the Python file is run")
    compile_.add_argument("--output", "-o", required=True, metavar="FILE", help="the file to write")
    compile_.add_argument("--example", "-e", action="append", default=[], metavar="EXAMPLE", help=_EXAMPLE_HELP)
    compile_.add_argument("--trace", action="store_true", help="record calls instead of compiling the source")
    compile_.add_argument("--freeze", action="store_true", help="make constants of a module's parameters")
    compile_.add_argument(
        "--target", "-t", action="append", default=[], metavar="TARGET",
        help="add machine code for another CPU: x86-64-v3, x86-64-v4, aarch64-neoverse-n1, apple-m1, ...",
    )  # fmt: skip

    export = add("export-c", "export", "Write a model as a C library: object files, a header, C source and weights.")
    _model(export)
    export.add_argument("--output", "-o", required=True, metavar="FOLDER", help="the folder to write to")
    export.add_argument("--name", help="the prefix of names in C (default: the model's name)")
    export.add_argument("--target", "-t", metavar="TARGET", help="the CPU to compile for (default: this one)")

    add("doctor", "doctor", "Check the installation: versions, CPU, threads, cache.")

    cache = add("cache", "cache", "Look after the kernel cache.")
    cache.add_argument("action", choices=("info", "clear", "warm"), help="warm compiles the models that are given")
    cache.add_argument("models", nargs="*", metavar="MODEL", help="for warm: the files to compile")

    completion = add("completion", "completion", "Print a script that completes commands in a shell.")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="an ingot file")


def _method(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", metavar="NAME", help="another compiled method of a module than forward")


def _inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input", "-i", action="append", default=[], metavar="[NAME=]VALUE",
        help="an argument: a .npy, .npz or .json file, - for JSON from standard input, or JSON such as 3 or [1.5, 2]",
    )  # fmt: skip


def _version() -> str:
    from .. import __version__

    return f"ingot {__version__}"
