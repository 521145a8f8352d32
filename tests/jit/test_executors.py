"""Who runs compiled callables: chosen per thread or by the environment, with one answer."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from handmade import GRAPH
from ingot import ir
from ingot.eager.tensor import Tensor, wrap
from ingot.jit import executors
from ingot.jit.executors import EXECUTORS, current_executor, executor
from ingot.jit.function import Call, CompiledFunction, Specialised
from ingot.jit.tree import LEAF


class Square(CompiledFunction):
    def specialise(self, call: Call) -> Specialised:
        return Specialised(ir.parse(GRAPH), LEAF)


def vector(*values: float) -> Tensor:
    return wrap(np.array(values, np.float32))


@pytest.mark.parametrize("name", EXECUTORS)
def test_executors_agree(name: str) -> None:
    function = Square("square")
    with executor(name):
        assert current_executor() == name
        assert function(vector(1, 2, 3), vector(2, 3, 4)).tolist() == [5, 11, 19]
        assert list(function.specialisations[0]._programs) == [name]
    assert current_executor() == "native"


def test_the_short_way_is_not_taken_under_another_executor() -> None:
    function = Square("square")
    x, y = vector(1, 2), vector(3, 4)
    function(x, y)
    assert executors.plain and function._known
    with executor("interpreter"):
        assert not executors.plain
        function(x, y)
    assert set(function.specialisations[0]._programs) == {"native", "interpreter"}


def test_contexts_nest_and_end_with_errors() -> None:
    with executor("interpreter"):
        with pytest.raises(KeyError), executor("python"):
            raise KeyError
        assert current_executor() == "interpreter"
    assert current_executor() == "native" and executors.plain


def test_the_executor_is_chosen_per_thread() -> None:
    seen: list[str] = []
    with executor("interpreter"):
        thread = threading.Thread(target=lambda: seen.append(current_executor()))
        thread.start()
        thread.join()
    assert seen == ["native"]


def test_names_that_are_no_executor() -> None:
    with pytest.raises(ValueError, match="'fast' is not an executor, expected one of native, interpreter, python"):
        executor("fast").__enter__()
    assert executors.plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [("interpreter", "interpreter"), ("", "native"), ("fast", "INGOT_EXECUTOR: 'fast' is not an executor")],
)
def test_the_environment_sets_the_default(value: str, expected: str) -> None:
    program = "from ingot.jit.executors import current_executor; print(current_executor())"
    environment = {**os.environ, "INGOT_EXECUTOR": value}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )
    assert expected in result.stdout + result.stderr
