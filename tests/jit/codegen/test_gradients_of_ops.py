"""The derivative of every differentiable op as graphs, against eager's gradients, on the samples of its record."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot.eager.tensor import wrap
from ingot.ir.ops._op import Op, Trait, all_ops
from ingot.jit.gradients import CompiledDerivative
from ingot.jit.specialisation import Specialisation
from ingot.jit.tree import LEAF, tuple_structure
from lowering_cases import case_of

OPS = [
    op
    for op in all_ops()
    if op.vjp is not None and "." not in op.name and Trait.RANDOM not in op.traits and tuple(op.samples())
]
MOST_SAMPLES = 4


def _subject(op: Op, sample: Any, symbolic: bool) -> tuple[Specialisation, list[Any], list[int]]:
    case = case_of(op, sample, symbolic=symbolic)
    graph, arrays = case.graph, [np.asarray(a) for a in case.arguments]
    count = len(graph.results)
    structure = LEAF if count == 1 else tuple_structure([LEAF] * count)
    wanted = [i for i, a in enumerate(arrays) if a.dtype.kind in "fc"]
    return Specialisation(op.name, graph, structure), arrays, wanted


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_compiled_gradients_are_eager_ones(op: Op) -> None:
    for number, sample in enumerate(tuple(op.samples())[:MOST_SAMPLES]):
        if not sample.differentiable:
            continue
        subject, arrays, wanted = _subject(op, sample, symbolic=number < 2)
        tensors = [wrap(a.copy()).requires_grad_(i in wanted) for i, a in enumerate(arrays)]
        outputs = subject.run_eagerly(tensors)
        followed = [o for o in outputs if isinstance(o, ingot.Tensor) and o.requires_grad]
        if not wanted or not followed:
            continue
        random = np.random.default_rng(0)
        seeds = {id(o): np.asarray(random.standard_normal(o.shape)).astype(o._array.dtype) for o in followed}
        expected = ingot.autograd.grad(
            followed, [tensors[i] for i in wanted], [wrap(seeds[id(o)]) for o in followed], allow_unused=True
        )
        derivative = CompiledDerivative(subject, tuple(wanted))
        results = derivative.forward.program("interpreter")(arrays)
        zeros = [np.zeros_like(np.asarray(r)) for r in results]
        given = [seeds.get(id(outputs[i]), zeros[i]) for i in derivative.outputs]
        found = derivative.backward.program("interpreter")([*results[derivative.n_results :], *given])
        by_input = dict(zip(derivative.inputs, found, strict=True))
        for i, gradient in zip(wanted, expected, strict=True):
            zero = np.zeros_like(arrays[i])
            np.testing.assert_allclose(
                by_input.get(i, zero), zero if gradient is None else gradient._array, rtol=1e-3, atol=1e-4
            )
