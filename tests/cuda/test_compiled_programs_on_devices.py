"""The programs of the language's conformance suite, and random ones, on a simulated device."""

import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ingot
import pytest
from device_cases import on_device
from ingot import jit, nn
from lowering_cases import assert_same, reference
from random_graphs import random_case, random_program

sys.path.append(str(Path(__file__).parent.parent / "jit" / "script" / "conformance"))

import test_script_conformance as suite  # fills the table
from conformance_table import ACCEPTED, Accepted, _made, difference, outcome


@pytest.fixture(autouse=True)
def simulated() -> Iterator[None]:
    with ingot.cuda.simulate(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def moved(value: Any) -> Any:
    """A value with its tensors on the device."""
    if isinstance(value, ingot.Tensor):
        return value.detach().cuda()
    if type(value) in (list, tuple):
        return type(value)(map(moved, value))
    return {k: moved(v) for k, v in value.items()} if type(value) is dict else value


def has_tensors(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(has_tensors, value))
    return isinstance(value, ingot.Tensor) or (isinstance(value, dict) and has_tensors(list(value.values())))


PROGRAMS = [p for p in ACCEPTED if has_tensors(p.calls) and not p.missing and not p.slow]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_programs_of_the_language(program: Accepted) -> None:
    assert suite.MODULES
    file = inspect.getsourcefile(program.function) or ""
    on_host = [outcome(_made(program)[0], call, file) for call in program.calls]
    target, again = (on_the_device(_made(program)[0]) for _ in range(2))
    eager = [outcome(target, moved(call), file) for call in program.calls]
    scripted = jit.script(again)
    for call, *wanted in zip(program.calls, on_host, eager, strict=True):
        # What a program makes itself is on its device, where eager execution may refuse to mix; what it asks for the
        # device says which.
        wrong = [difference(w, outcome(scripted, moved(call), file), lines=False) for w in wanted]
        assert not all(wrong), f"{program.name}{call}: {wrong}"


def on_the_device(target: Any) -> Any:
    return target.cuda() if isinstance(target, nn.Module) else target


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs(seed: int) -> None:
    case = random_case(seed, symbolic=seed % 3 != 0)
    for found, expected in zip(on_device(case.graph, case.arguments)[0], reference(case), strict=True):
        assert_same(found, expected, 2e-4)


@pytest.mark.parametrize("seed", range(6))
def test_random_loops_and_branches(seed: int) -> None:
    case = random_program(seed)
    for found, expected in zip(on_device(case.graph, case.arguments)[0], reference(case), strict=True):
        assert_same(found, expected, 2e-4)
