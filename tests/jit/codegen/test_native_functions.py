"""Functions of a graph as native functions: what they take and return, memory, and errors."""

from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.pipeline import run_pipeline
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.generate import generate
from ingot.jit.layout import Layout
from ingot.jit.program import NativeProgram, PythonProgram
from ingot.jit.runtime.loader import load_object
from ingot.jit.runtime.objects import ObjectError

KINDS = """graph @kinds(%x: f32[n], %k: int, %f: float, %b: bool) -> (f32[n], int, float, bool, str, int, bool) {
  %t: Tuple[f32[n], int, float, bool], %s: str, %o: Optional[int] = call @step(%x, %k, %f, %b)
  %x1: f32[n] = tuple.get(%t) {index=0}
  %k1: int = tuple.get(%t) {index=1}
  %f1: float = tuple.get(%t) {index=2}
  %b1: bool = tuple.get(%t) {index=3}
  %none: bool = optional.is_none(%o)
  %held: int = if(%none) {
    %m: int = constant() {value=-1}
    yield(%m)
  } else {
    %u: int = optional.unwrap(%o)
    yield(%u)
  }
  return(%x1, %k1, %f1, %b1, %s, %held, %none)
}
func @step(%x: f32[n], %k: int, %f: float, %b: bool) -> (Tuple[f32[n], int, float, bool], str, Optional[int]) {
  %zero: int = constant() {value=0}
  %end: bool = scalar.le(%k, %zero)
  %t: Tuple[f32[n], int, float, bool], %s: str, %o: Optional[int] = if(%end) {
    %a: Tuple[f32[n], int, float, bool] = tuple.make(%x, %k, %f, %b)
    %e: str = constant() {value="end"}
    %p: Optional[int] = if(%b) {
      %q: Optional[int] = optional.make(%k) {element=type<int>}
      yield(%q)
    } else {
      %q2: Optional[int] = optional.make(_) {element=type<int>}
      yield(%q2)
    }
    yield(%a, %e, %p)
  } else {
    %one: int = constant() {value=1}
    %y: f32[n] = add(%x, %f)
    %l: int = scalar.sub(%k, %one)
    %g: float = scalar.mul(%f, %f)
    %c: bool = scalar.not_(%b)
    %a3: Tuple[f32[n], int, float, bool], %e3: str, %p3: Optional[int] = call @step(%y, %l, %g, %c)
    yield(%a3, %e3, %p3)
  }
  return(%t, %s, %o)
}"""

MEMORY = """graph @memory(%x: f64[n], %k: int) -> (f64[n], f64[n]) {
  %y: f64[n] = add(%x, %x)
  %r: f64[n] = call @f(%y, %k)
  %z: f64[n] = mul(%r, %x)
  return(%r, %z)
}
func @f(%x: f64[n], %k: int) -> (f64[n]) {
  %zero: int = constant() {value=0}
  %end: bool = scalar.le(%k, %zero)
  %r: f64[n] = if(%end) {
    yield(%x)
  } else {
    %one: int = constant() {value=1}
    %true: bool = constant() {value=True}
    %l: int = scalar.sub(%k, %one)
    %a: f64[n] = loop(%k, %true, %x) (%i: int, %c: f64[n]) {
      %d: f64[n] = add(%c, %one)
      yield(%true, %d)
    }
    %s: f64[] = sum(%a)
    %b: f64[n] = div(%a, %s)
    %g: f64[n] = call @f(%b, %l)
    %h: f64[n] = call @f(%x, %zero)
    %e: f64[n] = add(%g, %h)
    yield(%e)
  }
  return(%r)
}"""

CAUGHT = """graph @caught(%n: int) -> (int, int) {
  %h: int, %e: int, %r: int = try(%n) {name="t", catches=(("ValueError", 1), ("RecursionError", 2))} {
    %a: int = call @f(%n)
    yield(%a)
  }
  return(%h, %r)
}
func @f(%n: int) -> (int) {
  %three: int = constant() {value=3}
  %bad: bool = scalar.eq(%n, %three)
  if(%bad) {
    %text: str = constant() {value="three"}
    raise(%text) {exception="ValueError"}
    yield()
  } else {
    yield()
  }
  %zero: int = constant() {value=0}
  %one: int = constant() {value=1}
  %end: bool = scalar.eq(%n, %zero)
  %r: int = if(%end) {
    yield(%n)
  } else {
    %m: int = scalar.sub(%n, %one)
    %k: int = call @f(%m)
    yield(%k)
  }
  return(%r)
}"""

CASES: dict[str, tuple[str, list[list[Any]]]] = {
    "kinds": (KINDS, [[np.ones(3, np.float32), k, 0.5, b] for k, b in ((0, True), (0, False), (3, True), (4, True))]),
    "memory": (MEMORY, [[np.arange(float(n)), k] for n, k in ((5, 0), (5, 4), (0, 2), (1, 1))]),
    "caught": (CAUGHT, [[2], [7], [-1], [0]]),
}


@pytest.fixture(scope="module")
def programs() -> dict[str, tuple[Any, ...]]:
    made = {}
    for name, (text, _) in CASES.items():
        graph = ir.parse(text)
        module = generate(run_pipeline(graph, verify=True))
        native = NativeProgram(Layout.of(module), compile_module(module).object)
        made[name] = graph, PythonProgram(module), native, module
    return made


@pytest.mark.parametrize("name", CASES)
def test_executors_agree(programs: dict[str, tuple[Any, ...]], name: str) -> None:
    graph, *executors, _ = programs[name]
    for arguments in CASES[name][1]:
        expected = ir.run(graph, arguments)
        for program in executors:
            got = program([a.copy() if isinstance(a, np.ndarray) else a for a in arguments])
            assert len(got) == len(expected)
            for one, two in zip(got, expected, strict=True):
                assert type(one) is type(two)
                np.testing.assert_allclose(one, two, rtol=1e-6) if isinstance(one, np.ndarray) else _same(one, two)


def _same(one: Any, two: Any) -> None:
    assert one == two


def test_buffers_of_a_call_are_given_back(programs: dict[str, tuple[Any, ...]]) -> None:
    source = programs["memory"][3].driver_source
    function = source[source.index("def f0_f") : source.index("def driver_memory")]
    assert "arena_release(arena, " in function
    # What is returned is kept, whoever it belongs to.
    assert "!= r0:" in function and "return 0, r0, r1" in function


def test_functions_are_local_to_the_library(programs: dict[str, tuple[Any, ...]]) -> None:
    module = programs["caught"][3]
    assert module.driver_source.count("@driver") == 1
    blob = compile_module(module).object
    assert load_object(blob, [module.driver])
    with pytest.raises(ObjectError):
        load_object(blob, ["f0_f"])
    assert [e.exception for e in module.errors] == ["RecursionError", "ValueError", "OverflowError"]
