"""On a real GPU (`make gpu-check`): every op's samples by compiled kernels, and random graphs, against the CPU."""

import warnings
from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from device_cases import CODEGEN_TESTS  # noqa: F401  # puts them on the path
from ingot.eager.device import as_device, move_array
from ingot.ir.core import Graph
from ingot.ir.ops._op import all_ops
from ingot.ir.random_state import default_generator
from ingot.jit.codegen.cuda.programs import device_program
from lowering_cases import assert_same, case_of, reference
from random_graphs import random_case, random_program

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[None]:
    if not ingot.cuda.is_available() or ingot.cuda.backends.is_simulated():
        pytest.skip(ingot.cuda.unavailable_reason() or "the GPU is the stand-in")
    yield
    ingot.cuda.empty_cache()


def run(graph: Graph, arguments: list[Any]) -> list[list[Any]]:
    """The results of three calls: launched, and twice by a recorded graph where there is one."""
    place = as_device("cuda")
    program = device_program(graph, place)
    found = []
    for _ in range(3):
        default_generator.manual_seed(0)
        results = program([move_array(a, place) if isinstance(a, np.ndarray) else a for a in arguments])
        found.append([r.get() if hasattr(r, "__cuda_array_interface__") else r for r in results])
    assert not program.recording_failure, program.recording_failure
    return found


def test_samples_by_compiled_kernels() -> None:
    failures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ingot.cuda.HostFallbackWarning)
        for op in all_ops():
            for index, sample in enumerate(op.samples() if op.evaluate is not None and "." not in op.name else ()):
                case = case_of(op, sample, symbolic=index % 2 == 0)
                default_generator.manual_seed(0)
                expected = reference(case)
                try:
                    for found in run(case.graph, case.arguments):
                        for a, b in zip(found, expected, strict=True):
                            assert_same(a, b, max(sample.tolerance or 0.0, 2e-4))
                except Exception as error:
                    failures.append(f"{op.name}, sample {index}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_and_programs(seed: int) -> None:
    for case in (random_case(seed), random_program(seed)):
        for found in run(case.graph, case.arguments):
            for a, b in zip(found, reference(case), strict=True):
                assert_same(a, b, 5e-4)
