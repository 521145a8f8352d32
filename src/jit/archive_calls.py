"""Python functions that programs call back, and files: a file holds none, and reaches none of the process.

A program that calls a function back cannot be saved. One that calls what Numba compiled can, with its machine code: a
loaded one runs that, on the CPU it was made for, and cannot run without it.
"""

from ..ir.callbacks import FROM_FILE, callback
from ..ir.core import Graph
from .errors import ScriptError

__all__ = ["check_saved", "disown"]


def check_saved(name: str, graph: Graph, *, native: bool) -> None:
    """ScriptError where a graph calls a function that a file would not hold."""
    for instruction in graph.walk_all():
        if instruction.op.name != "python.call":
            continue
        function: str = instruction.attributes["function"]
        if function.startswith(FROM_FILE):
            raise ScriptError(
                f"save: {name} was loaded from a file, with machine code for which there is no source",
                instruction.location,
                hint="copy the file",
            )
        called = callback(function)
        if called.native is None or called.native.missing or not native:
            raise ScriptError(
                f"save: {name} calls back the Python function {called.title}, which a file cannot hold",
                instruction.location,
                hint="save what does not call it; where it is never reached in what is saved, mark it @jit.unused"
                if called.native is None
                else "save with native=True a function of numbers that needs nothing of Numba's runtime",
            )


def disown(graph: Graph) -> None:
    """Let a graph from a file reach no function of this process, whatever names it has."""
    for instruction in graph.walk_all():
        if instruction.op.name == "python.call":
            function: str = instruction.attributes["function"]
            instruction.attributes["function"] = FROM_FILE + function.removeprefix(FROM_FILE)
