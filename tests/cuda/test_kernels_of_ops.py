"""Every op's samples on a simulated device, by kernels where there are some, against the CPU."""

import warnings
from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from device_cases import on_device
from ingot.ir.ops._op import Op
from ingot.ir.random_state import default_generator
from kernel_coverage import FILE, OPS, listing, recorded
from lowering_cases import assert_same, case_of, reference

# Samples of an op that run here, the first with free sizes and with fixed ones.
MOST = 3
# Of those that become tens of kernels, one.
LARGE = ("conv3d", "conv_transpose3d")
WITHOUT_KERNEL = recorded()


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with ingot.cuda.simulate(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of ops that the array module sends to the CPU
        yield


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_samples_on_the_device(op: Op) -> None:
    kernels = 0
    for index, sample in enumerate(op.samples()[: 1 if op.name in LARGE else MOST]):
        for symbolic in (False, True) if index == 0 else (index % 2 == 0,):
            case = case_of(op, sample, symbolic=symbolic)
            default_generator.manual_seed(0)
            expected = reference(case)
            before: list[Any] = [np.array(a, copy=True) for a in case.arguments]
            found, program = on_device(case.graph, case.arguments)
            for a, b in zip(found, expected, strict=True):
                assert_same(a, b, sample.tolerance or 3e-5)
            for a, b in zip(case.arguments, before, strict=True):
                np.testing.assert_array_equal(a, b)
            kernels += len(program.kernels())
    assert bool(kernels) is (op.name not in WITHOUT_KERNEL)


def test_every_op_has_a_kernel_or_a_reason() -> None:
    text = listing([op for op in OPS if op.name in WITHOUT_KERNEL])
    assert "MISSING" not in text, "an op has neither a kernel nor a reason in codegen/cuda/by_design.py"
    assert FILE.read_text() == text, "run tests/cuda/kernel_coverage.py"
