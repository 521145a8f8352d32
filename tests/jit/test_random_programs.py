"""Random programs give on every executor what they give run eagerly: results, what they write, and gradients.

`INGOT_RANDOM_PROGRAMS=n` runs n times as many; a failure shows the program.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit
from random_programs import SIZES, Program, random_program

TIMES = int(os.environ.get("INGOT_RANDOM_PROGRAMS", "1"))
# What eager execution refuses, compiled code may have left out where nothing needs it.
REFUSALS = (RuntimeError, IndexError, ZeroDivisionError, TypeError, ValueError, NameError)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ingot.jit.FallbackWarning", "ignore::RuntimeWarning"),
]


def batches(count: int, size: int = 10) -> Any:
    """Seeds in batches, a test each, so that workers share them."""
    starts = range(0, count * TIMES, size)
    return pytest.mark.parametrize("seeds", [range(s, s + size) for s in starts], ids=lambda r: f"{r[0]}-{r[-1]}")


def tensors(values: list[Any], *, gradients: bool = False) -> list[Any]:
    made = []
    for value in values:
        if isinstance(value, np.ndarray):
            value = ingot.from_numpy(value)
            if gradients and value.dtype.is_floating_point:
                value.requires_grad_()
        made.append(value)
    return made


def outcome(function: Callable[..., Any], values: list[Any]) -> Any:
    """Results and arguments afterwards, or the error."""
    arguments = tensors(values)
    try:
        results = function(*arguments)
    except REFUSALS as error:
        return error
    return [*results, *(a for a in arguments if isinstance(a, ingot.Tensor))]


def gradients(function: Callable[..., Any], values: list[Any]) -> Any:
    """The gradients of a weighted sum of the results, or the error."""
    arguments = tensors(values, gradients=True)
    leaves = [a for a in arguments if isinstance(a, ingot.Tensor) and a.requires_grad]
    try:
        total = ingot.zeros(())
        for result in function(*(a * 1 if any(a is leaf for leaf in leaves) else a for a in arguments)):
            if result.dtype.is_floating_point:
                weights = np.cos(np.arange(result.numel())).reshape(tuple(result.shape))
                total = total + (result * ingot.from_numpy(weights)).sum()
        # A result that was overwritten depends on nothing: eager's still has a graph, a compiled one's has none.
        if total.requires_grad:
            total.backward()
    except REFUSALS as error:
        return error
    return [ingot.zeros_like(a) if a.grad is None else a.grad for a in leaves]


def assert_same(found: Any, expected: Any, program: Program, where: str) -> None:
    if isinstance(expected, Exception):
        return
    shown = f"{where}\n{program.source}{program.arguments} {program.numbers}"
    assert not isinstance(found, Exception), f"{found!r} at {shown}"
    for a, b in zip(found, expected, strict=True):
        a, b = a.detach().numpy(), b.detach().numpy()
        assert (a.dtype, a.shape) == (b.dtype, b.shape), shown
        scale = np.max(np.abs(np.nan_to_num(b.astype(float), posinf=0, neginf=0)), initial=1)
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3 * scale, err_msg=shown)


def compiled(program: Program, sizes: tuple[int, ...], kind: str) -> Any:
    function = program.function(ingot)
    if kind == "script":
        return jit.script(function)
    return jit.trace(function, tuple(tensors(program.inputs(0, sizes))), on_bake="ignore")


def check(seeds: range, kind: str, executor: str, run: Callable[..., Any], calls: int = 3) -> None:
    """Compare on the sizes that the program was made for, on others, and on the first again."""
    compared = refused = 0
    for seed in seeds:
        program, sizes = random_program(ingot, seed, control=kind == "script")
        choose = random.Random(seed)
        others = [tuple(choose.choice(SIZES) for _ in sizes) for _ in range(calls - 2)]
        with jit.executor(executor):
            callable_ = compiled(program, sizes, kind)
            for index, chosen in enumerate([sizes, *others, sizes]):
                expected = run(program.function(ingot), program.inputs(index, chosen))
                try:
                    found = run(callable_, program.inputs(index, chosen))
                except jit.ScriptError:
                    refused += 1
                    break
                assert_same(found, expected, program, f"{executor}, call {index} with sizes {chosen}, seed {seed}")
                compared += not isinstance(expected, Exception)
    assert refused <= 0.5 * len(seeds)
    assert compared >= 0.5 * len(seeds)


@batches(120)
def test_traces_in_the_interpreter(seeds: range) -> None:
    check(seeds, "trace", "interpreter", outcome, 4)


@batches(120)
def test_scripts_in_the_interpreter(seeds: range) -> None:
    check(seeds, "script", "interpreter", outcome, 4)


@batches(80)
def test_generated_sources_of_traces(seeds: range) -> None:
    check(seeds, "trace", "python", outcome, 4)


@batches(80)
def test_generated_sources_of_scripts(seeds: range) -> None:
    check(seeds, "script", "python", outcome, 4)


@batches(40)
def test_gradients_of_traces(seeds: range) -> None:
    check(seeds, "trace", "python", gradients)


@batches(40)
def test_gradients_of_scripts(seeds: range) -> None:
    check(seeds, "script", "python", gradients)


@batches(4, 4)
@pytest.mark.parametrize("kind", ["trace", "script"])
def test_native_code(seeds: range, kind: str) -> None:
    check(seeds, kind, "native", outcome)


@pytest.mark.parametrize("kind", ["trace", "script"])
def test_saved_programs_are_loaded_as_they_were(kind: str, tmp_path: Path) -> None:
    for seed in (0, 2, 5, 7):
        program, sizes = random_program(ingot, seed, control=kind == "script")
        with jit.executor("interpreter"):
            callable_ = compiled(program, sizes, kind)
            expected = outcome(callable_, program.inputs(0, sizes))
            callable_.save(tmp_path / "program.ingot", native=False)
            loaded = jit.load(tmp_path / "program.ingot")
            assert_same(outcome(loaded, program.inputs(0, sizes)), expected, program, "loaded")
            assert str(loaded.graph) == str(callable_.graph)
