"""Functions that call themselves: how deep, on which threads and stacks, with which gradients, and once compiled."""

import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ingot
import pytest
from ingot import jit, nn
from ingot.jit.script.api import script

EXECUTORS = ("interpreter", "python", "native")


def down(n: int) -> int:
    return 0 if n == 0 else down(n - 1) + 1


def power(x: Any, n: int) -> Any:
    if n == 0:
        return x
    return power(x * 1.5 + 1, n - 1)


def fact(n: int) -> int:
    return 1 if n <= 1 else n * fact(n - 1)


def raises(n: int) -> int:
    if n == 2:
        raise KeyError(n)
    return raises(n - 1)


def many(a: float, b: float, c: float, d: float, n: int) -> float:
    if n == 0:
        return a + b + c + d
    e, f, g, h = a * b, b * c, c * d, d * a
    return many(e - f, f - g, g - h, h - e, n - 1) + e * f * g * h


@contextmanager
def limit_of(calls: int) -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(calls)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def depth_or_error(function: Any, n: int) -> Any:
    try:
        return function(n)
    except RecursionError as error:
        return str(error)


TOO_DEEP = "maximum recursion depth exceeded"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_calls_are_counted_as_python_counts_them(executor: str) -> None:
    scripted = script(down)
    limit = sys.getrecursionlimit()
    with jit.executor(executor):
        assert scripted(limit - 100) == limit - 100
        assert depth_or_error(scripted, limit + 100) == TOO_DEEP
        with limit_of(limit + 500):
            assert scripted(limit + 100) == limit + 100
        assert depth_or_error(scripted, limit + 100) == TOO_DEEP
    assert sys.getrecursionlimit() == limit


def test_the_stack_is_never_exceeded() -> None:
    scripted, wide = script(down), script(many)
    wide(1.0, 2.0, 3.0, 4.0, 2)
    with limit_of(10**8):
        assert scripted(10_000) == 10_000
        assert depth_or_error(scripted, 10**8 - 10) == TOO_DEEP
        assert depth_or_error(lambda n: wide(1.0, 2.0, 3.0, 4.0, n), 10**7) == TOO_DEEP
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(lambda n: depth_or_error(scripted, n), [500, 10**7, 10**8 - 10]))
        assert found == [500, TOO_DEEP, TOO_DEEP]
        before = threading.stack_size(256 * 1024)
        try:
            small: list[Any] = []
            thread = threading.Thread(target=lambda: small.extend(depth_or_error(scripted, n) for n in (500, 10**6)))
            thread.start()
            thread.join()
        finally:
            threading.stack_size(before)
        assert small == [500, TOO_DEEP]


def test_integers_overflow_as_everywhere() -> None:
    scripted = script(fact)
    for executor in EXECUTORS:
        with jit.executor(executor):
            assert scripted(20) == fact(20)
            with pytest.raises(OverflowError):
                scripted(21)


def test_one_compilation_serves_all_values_and_sizes() -> None:
    scripted = script(power)
    scripted(ingot.ones(3), 2)
    count = len(scripted.specialisations)
    with jit.no_compile():
        for n in (1, 4, 9):
            x = ingot.arange(float(n))
            assert ingot.equal(scripted(x, n), power(x, n))
    assert len(scripted.specialisations) == count == 1
    assert "functions that call themselves: power" in scripted.explain()
    assert "call @power" in str(scripted.graph) and "func @power" in str(scripted.graph)


def test_gradients_run_op_by_op_and_say_so() -> None:
    scripted = script(power)
    x = ingot.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(jit.FallbackWarning, match="gradients are not compiled through functions that call themselves"):
        scripted(x, 3).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.5**3] * 2
    assert "op by op" in scripted.explain()


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Any, n: int) -> Any:
        return x if n == 0 else self.forward(ingot.tanh(self.fc(x)), n - 1)


def test_parameters_get_gradients_through_recursion() -> None:
    ingot.manual_seed(0)
    model = Deep()
    x = ingot.ones(2, 3)
    model(x, 3).sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jit.FallbackWarning)
        script(model)(x, 3).sum().backward()
    assert len(expected) == 2
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None and ingot.allclose(parameter.grad, wanted)
    with ingot.no_grad():
        assert ingot.allclose(script(model)(x, 3), model(x, 3))


def test_saved_and_loaded(tmp_path: Path) -> None:
    for function, arguments in ((down, (40,)), (power, (ingot.ones(3), 4)), (raises, (5,))):
        scripted = script(function)  # type: ignore[arg-type]
        outcomes = []
        for call in (scripted, None, None):
            if call is None:
                call = jit.load(tmp_path / "f.ingot", trust=len(outcomes) == 1)
            try:
                outcomes.append(str(call(*arguments)))
            except KeyError as error:
                line = error.__traceback__
                while line is not None and line.tb_next is not None:
                    line = line.tb_next
                assert line is not None and line.tb_frame.f_code.co_name == "raises"
                outcomes.append(f"{error!r} in line {line.tb_lineno}")
            if len(outcomes) == 1:
                jit.save(scripted, tmp_path / "f.ingot")
        assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_trace_keeps_the_calls() -> None:
    scripted = script(power)

    def twice(x: Any, y: Any) -> Any:
        return scripted(x, 2) + scripted(y, 3)

    traced = jit.trace(twice, (ingot.ones(2), ingot.ones(2)))
    assert str(traced.graph).count("func @power") == 2  # each with its own sizes and counts
    x, y = ingot.tensor([1.0, -2.0]), ingot.tensor([0.5, 3.0])
    for executor in EXECUTORS:
        with jit.executor(executor):
            assert ingot.allclose(traced(x, y), twice(x, y))


def test_many_results_and_arguments() -> None:
    scripted = script(many)
    for executor in EXECUTORS:
        with jit.executor(executor):
            assert scripted(1.0, 2.0, 3.0, 4.0, 5) == many(1.0, 2.0, 3.0, 4.0, 5)
