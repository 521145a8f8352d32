"""Functions of a graph: their text, what is refused, how the interpreter calls them, and how deep."""

import sys
from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.core import Instruction
from ingot.ir.ops._op import get_op
from ingot.ir.pipeline import run_pipeline
from ingot.ir.recursion import deep_recursion, recursion_limit
from ingot.ir.rewrite import clone

FIB = """graph @main(%n: int) -> (int) {
  %r: int = call @fib(%n)
  return(%r)
}
func @fib(%n: int) -> (int) {
  %two: int<2> = constant() {value=2}
  %c: bool = scalar.lt(%n, %two)
  %r: int = if(%c) {
    yield(%n)
  } else {
    %one: int<1> = constant() {value=1}
    %a: int = scalar.sub(%n, %one)
    %x: int = call @fib(%a)
    %b: int = scalar.sub(%n, %two)
    %y: int = call @fib(%b)
    %s: int = scalar.add(%x, %y)
    yield(%s)
  }
  return(%r)
}"""

HALVES = """graph @main(%x: f32[n]) -> (f32[m]) {
  %r: f32[m] = call @turned(%x)
  return(%r)
}
func @turned(%x: f32[n]) -> (f32[k]) {
  %length: int<n> = dim() {expression=dim<n>}
  %one: int<1> = constant() {value=1}
  %small: bool = scalar.le(%length, %one)
  %r: f32[k] = if(%small) {
    yield(%x)
  } else {
    %zero: int<0> = constant() {value=0}
    %h: int<n//2> = dim() {expression=dim<n//2>}
    %a: f32[p] = slice(%x, %zero, %h) {dim=0}
    %b: f32[q] = slice(%x, %h, _) {dim=0}
    %left: f32[i] = call @turned(%b)
    %right: f32[j] = call @turned(%a)
    %both: f32[i + j] = cat(%left, %right) {dim=0}
    yield(%both)
  }
  return(%r)
}"""


def _halves() -> ir.Graph:
    # What inference makes of the slices is not written by hand.
    text = HALVES.replace("f32[p]", "f32[min(n//2, n)]").replace("f32[q]", "f32[n - min(n//2, n)]")
    return ir.parse(text)


def test_text_is_complete() -> None:
    graph = ir.parse(FIB)
    assert str(graph) == FIB
    assert ir.parse(str(graph)) == graph
    assert list(graph.functions) == ["fib"] and graph.functions["fib"].name == "fib"
    assert len(list(graph.walk_all())) > len(list(graph.walk()))
    assert "call @fib" in graph.html() and "call @fib" in graph.dot()


def test_graphs_differ_in_their_functions() -> None:
    other = FIB.replace("scalar.add", "scalar.sub")
    assert ir.parse(FIB) != ir.parse(other)
    renamed = FIB.replace("%x", "%first").replace("%c", "%small")
    assert ir.parse(FIB) == ir.parse(renamed)


def test_a_copy_shares_nothing() -> None:
    graph = ir.parse(FIB)
    copied = clone(graph)
    assert copied == graph
    copied.functions["fib"].block.instructions.pop()
    assert copied.functions["fib"].block is not graph.functions["fib"].block
    ir.verify(graph)


def test_the_interpreter_calls() -> None:
    graph = ir.parse(FIB)
    assert [ir.run(graph, [n], check=True)[0] for n in range(10)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]


def test_sizes_of_a_call_are_its_own() -> None:
    graph = _halves()
    for n in (0, 1, 2, 7):
        x = np.arange(n, dtype=np.float32)
        np.testing.assert_array_equal(ir.run(graph, [x], check=True)[0], x[::-1])


def test_passes_are_applied_to_functions() -> None:
    graph = ir.parse(FIB.replace("scalar.sub(%n, %one)", "scalar.sub(%n, %one)\n    %unused: int = scalar.add(%n, %n)"))
    seen: list[str] = []
    result = run_pipeline(graph, verify=True, on_pass=lambda name, _: seen.append(name))
    assert "scalar.add(%n, %n)" in str(graph) and "scalar.add(%n, %n)" not in str(result)
    assert seen[0] == "inline"
    assert ir.run(result, [10]) == [55]


def test_calls_nest_as_deep_as_python_allows() -> None:
    endless = ir.parse(FIB.replace("scalar.lt(%n, %two)", "scalar.lt(%two, %two)"))
    with pytest.raises(RecursionError, match="maximum recursion depth exceeded"):
        ir.run(endless, [5])
    limit = sys.getrecursionlimit()
    deep = ir.parse(FIB.replace("%y: int = call @fib(%b)", "%y: int = scalar.mul(%b, %two)"))
    assert ir.run(deep, [limit - 50])[0] > 0
    assert sys.getrecursionlimit() == limit == recursion_limit()
    with deep_recursion():
        assert recursion_limit() == limit < sys.getrecursionlimit()
    assert sys.getrecursionlimit() == limit


WRONG = {
    "an unknown function": (("call @fib(%n)", "call @fibb(%n)"), "there is no function @fibb.*did you mean @fib"),
    "an argument too many": (("call @fib(%n)", "call @fib(%n, %n)"), r"@fib takes int, given \(int, int\)"),
    "another type": (("graph @main(%n: int)", "graph @main(%n: float)"), "@fib takes int, given float"),
    "another result": (("%r: int = call @fib(%n)", "%r: float = call @fib(%n)"), "declared float, @fib returns int"),
    "no name": (("call @fib(%n)", "call fib(%n)"), "expected '@'"),
    "a value of the graph": (("scalar.lt(%n, %two)", "scalar.lt(%m, %two)"), "%m is not defined before this"),
    "a header that lies": (
        ("func @fib(%n: int) -> (int)", "func @fib(%n: int) -> (bool)"),
        "function @fib is declared",
    ),
    "guards": (("func @fib(%n: int) -> (int)", "func @fib(%n: int) -> (int) where (1 == 1)"), "expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_texts_are_refused(name: str) -> None:
    (before, after), message = WRONG[name]
    assert before in FIB
    with pytest.raises(ir.ParseError, match=f"(?s){message}"):
        ir.parse(FIB.replace(before, after, 1))


def test_a_function_is_defined_once() -> None:
    with pytest.raises(ir.ParseError, match="@fib is defined twice"):
        ir.parse(FIB + FIB[FIB.index("func") :])


SIZES = """graph @main(%x: f32[{x}], %y: f32[{y}], %k: int) -> (f32[{r}]) {{
  %r: f32[{r}] = call @f(%x, %y)
  return(%r)
}}
func @f(%x: f32[n], %y: f32[m]) -> (f32[n]) {{
  %s: f32[n] = call @g(%y, %x)
  return(%s)
}}
func @g(%x: f32[n], %y: f32[m]) -> (f32[m]) {{
  return(%y)
}}"""


def test_symbols_of_a_function_are_its_own() -> None:
    graph = ir.parse(SIZES.format(x="m", y="n", r="m"))
    assert ir.run(graph, [np.ones(2, np.float32), np.ones(3, np.float32), 1])[0].shape == (2,)
    with pytest.raises(ir.ParseError, match=r"declared f32\[n\], @f returns f32\[m\]"):
        ir.parse(SIZES.format(x="m", y="n", r="n"))
    same = SIZES.replace("func @f(%x: f32[n], %y: f32[m])", "func @f(%x: f32[n], %y: f32[n])")
    ir.parse(same.format(x="k", y="k", r="k"))
    with pytest.raises(ir.ParseError, match="@f takes"):
        ir.parse(same.format(x="m", y="n", r="m"))
    # The function's `n` is not the caller's, whatever they are called.
    with pytest.raises(ir.ParseError, match="@f takes"):
        ir.parse(same.format(x="m", y="n", r="n"))


def test_a_size_argument_takes_sizes_only() -> None:
    text = """graph @main(%k: {type}) -> (int) {{
  %r: int = call @f(%k)
  return(%r)
}}
func @f(%k: int<n>) -> (int<n>) {{
  return(%k)
}}"""
    ir.parse(text.format(type="int<m>"))
    with pytest.raises(ir.ParseError, match="@f takes int<n>, given int"):
        ir.parse(text.format(type="int"))


@pytest.mark.parametrize("change", ["name", "outputs", "inner"])
def test_functions_are_plain(change: str) -> None:
    graph = ir.parse(FIB)
    function: Any = graph.functions["fib"]
    if change == "name":
        function.name = "other"
    elif change == "outputs":
        function.outputs = 1
    else:
        function.functions = {"x": function}
    with pytest.raises(ir.VerifyError, match=r"function"):
        ir.verify(graph)


def test_a_call_in_a_block_of_its_own_is_checked() -> None:
    graph = ir.parse(FIB)
    call = Instruction(get_op("call"), [], {"function": "fib"}, (ir.IntType(),))
    call.block = graph.block
    graph.block.instructions.insert(0, call)
    with pytest.raises(ir.VerifyError, match=r"@fib takes int, given \(\)"):
        ir.verify(graph)
