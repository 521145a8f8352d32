"""Calls back into Python: what a first run tells, gradients, arguments changed in place, files, tracebacks."""

import traceback
import warnings
from pathlib import Path
from typing import Any

import ingot
import numba
import pytest
from ingot import jit, nn
from ingot.ir import callbacks

EXECUTORS = ("interpreter", "python", "native")


@jit.ignore
def smallest_first(x: Any, factor: float) -> ingot.Tensor:
    return (x * factor).sort()[0]


@jit.ignore
def parts(x):  # type: ignore[no-untyped-def]
    return x + 1, [x.sum(), 3], {"n": 2.5}


@jit.ignore
def positive(x):  # type: ignore[no-untyped-def]
    return x if x.sum().item() > 0 else x[0]


@jit.ignore
def add_one(x) -> None:  # type: ignore[no-untyped-def]
    x.add_(1)


@jit.ignore
def checked(n: int) -> int:
    if n > 2:
        raise KeyError("too large", n)
    return n


@numba.njit
def halved(n):  # type: ignore[no-untyped-def]
    if n % 2:
        raise ValueError("odd")
    return n // 2


def sorted_twice(x, factor: float):  # type: ignore[no-untyped-def]
    y = smallest_first(x, factor)
    return y[0] + smallest_first(y, 2.0)


def takes_parts(x):  # type: ignore[no-untyped-def]
    a, b, c = parts(x)
    return a + b[0], b[1], c["n"]


def adds_checked(n: int):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(n):
        total += checked(i)
    return total


def halves(n: int) -> int:
    return halved(n) + halved(4)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_tensors_are_returned_is_learned_from_the_first_call(executor: str) -> None:
    x = ingot.tensor([3.0, 1.0])
    with jit.executor(executor):
        scripted = jit.script(sorted_twice)
        with pytest.warns(jit.FallbackWarning, match="runs as plain Python this time.*smallest_first"):
            assert scripted(x, 2.0).tolist() == sorted_twice(x, 2.0).tolist()
        longer = ingot.tensor([3.0, 1.0, 5.0])
        assert scripted(longer, 0.5).tolist() == sorted_twice(longer, 0.5).tolist()
        assert len(scripted.specialisations) == 1
        with pytest.warns(jit.FallbackWarning, match="plain Python"):
            jit.script(takes_parts)(x)


def test_structures_of_results() -> None:
    x = ingot.tensor([3.0, 1.0])
    scripted = jit.script(takes_parts)
    with pytest.warns(jit.FallbackWarning):
        scripted(x)
    a, b, c = scripted(x)
    assert (a.tolist(), b, c) == ([8.0, 6.0], 3, 2.5)
    with pytest.raises(jit.JitError, match="known only after a call has run it"):
        jit.script(sorted_twice).graph_for(x, 1.0)


def test_another_rank_than_was_compiled_is_refused() -> None:
    scripted = jit.script(lambda x: positive(x) * 2)
    with pytest.warns(jit.FallbackWarning):
        scripted(ingot.tensor([1.0]))
    assert scripted(ingot.tensor([2.0])).tolist() == [4.0]
    with pytest.raises(TypeError, match=r"returned a Tensor of .*rank 0.*compiled for a Tensor of .*rank 1"):
        scripted(ingot.tensor([-1.0]))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_arguments_changed_in_place_are_refused(executor: str) -> None:
    def changes(x):  # type: ignore[no-untyped-def]
        add_one(x)
        return x

    with jit.executor(executor), pytest.raises(RuntimeError, match="changed an argument in place"):
        jit.script(changes)(ingot.ones(2))


class _Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.calls = 0

    @jit.ignore
    def scale(self, x):  # type: ignore[no-untyped-def]
        self.calls += 1
        return x * self.linear.weight.sum()

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.linear(self.scale(x))


def test_gradients_pass_through_what_is_called_back() -> None:
    module, x = _Scaled(), ingot.ones(1, 2)
    scripted = jit.script(module)
    module(x).sum().backward()
    expected = module.linear.weight.grad.clone()
    for warning in ("plain Python", "op by op"):
        module.zero_grad()
        with pytest.warns(jit.FallbackWarning, match=warning):
            scripted(x).sum().backward()
        assert ingot.allclose(module.linear.weight.grad, expected)
    assert module.calls == 3
    with ingot.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scripted(x).tolist() == module(x).tolist()
    assert "called back in Python" in str(scripted.explain())


def test_the_traceback_leads_into_the_function() -> None:
    scripted = jit.script(adds_checked)
    assert scripted(3) == 3
    with pytest.raises(KeyError) as caught:
        scripted(4)
    assert caught.value.args == ("too large", 3)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["adds_checked", "checked"]


def test_a_file_holds_no_python_functions(tmp_path: Path) -> None:
    scripted = jit.script(adds_checked)
    scripted(1)
    with pytest.raises(jit.ScriptError, match=r"calls back the Python function .*checked") as caught:
        scripted.save(tmp_path / "x.ingot")
    assert "jit.unused" in str(caught.value)


def test_a_file_holds_what_numba_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted, path = jit.script(halves), tmp_path / "x.ingot"
    assert scripted(6) == 5
    with pytest.raises(jit.ScriptError, match="cannot hold"):
        scripted.save(path, native=False)
    scripted.save(path)
    loaded = jit.load(path)
    assert loaded(10) == 7
    with pytest.raises(ValueError, match="odd"):  # the same code is in this process
        loaded(3)
    monkeypatch.setattr(callbacks, "_known", {})
    with pytest.raises(RuntimeError, match="halved, which a file does not hold"):
        loaded(3)
    with jit.executor("interpreter"), pytest.raises(RuntimeError, match="which a file does not hold"):
        loaded(10)
    with pytest.raises(jit.ScriptError, match="copy the file"):
        loaded.save(path)


def test_other_code_of_the_same_name_is_another_program() -> None:
    def make(step: int) -> Any:
        @numba.njit
        def advanced(n):  # type: ignore[no-untyped-def]
            return n + step

        return jit.script(lambda n: advanced(n))

    assert [make(step)(1) for step in (1, 5)] == [2, 6]
