"""Graphs on a simulated device: kernels run in Numba's simulator of CUDA, and are compared with the interpreter."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ingot import ir
from ingot.eager.device import as_device, move_array
from ingot.ir.core import Graph
from ingot.ir.pipeline import run_pipeline
from ingot.ir.random_state import default_generator
from ingot.jit.codegen.cuda.device_text import DeviceKernel, DeviceTarget
from ingot.jit.codegen.cuda.frontend import ptxas
from ingot.jit.codegen.cuda.programs import device_program
from ingot.jit.device_program import DeviceProgram

# What the tests of the CPU's code generation share.
CODEGEN_TESTS = Path(__file__).parent.parent / "jit" / "codegen"
sys.path.append(str(CODEGEN_TESTS))

__all__ = ["CODEGEN_TESTS", "agree", "on_device", "optimised", "ptxas", "real_kernels"]


def optimised(text: str) -> Graph:
    """A graph's text after the passes."""
    return run_pipeline(ir.parse(text))


def on_device(
    graph: Graph, arguments: Sequence[Any], target: DeviceTarget | None = None
) -> tuple[list[Any], DeviceProgram]:
    """A graph's results from the simulated device, and the program; the caller simulates one."""
    place = as_device("cuda")
    program = device_program(graph, place, target=target)
    program.launcher.launched.clear()  # type: ignore[attr-defined]
    default_generator.manual_seed(0)
    found = program([move_array(a, place) if isinstance(a, np.ndarray) else a for a in arguments])
    return [r.get() if hasattr(r, "__cuda_array_interface__") else r for r in found], program


def real_kernels(graph: Graph) -> list[DeviceKernel]:
    """The kernels of a graph as a GPU runs them."""
    return device_program(graph, as_device("cuda"), target=DeviceTarget()).kernels()


def agree(text: str, *arguments: Any, tolerance: float = 2e-5) -> DeviceProgram:
    """Check a graph on the device against the interpreter."""
    default_generator.manual_seed(0)
    expected = ir.run(ir.parse(text), [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments])
    before = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
    found, program = on_device(optimised(text), arguments)
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            assert a == b
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)
    return program
