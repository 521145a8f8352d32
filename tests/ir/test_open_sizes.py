"""Lists of tensors of different sizes in graphs: text, verifier, interpreter, passes and native code."""

import numpy as np
import pytest
from ingot import ir
from ingot.ir.dims import OPEN, symbol
from ingot.ir.dtypes import float32, int64
from ingot.ir.lexer import ParseError
from ingot.ir.open_sizes import has_open_sizes, join_elements, opened, tensor_pairs
from ingot.ir.sizes import Sizes
from ingot.ir.types import IntType, ListType, OptionalType, TensorType, TupleType, type_symbols
from ingot.jit.codegen.compile import compile_module
from ingot.jit.codegen.generate import generate
from ingot.jit.program import Layout, NativeProgram

GRAPH = """graph @joined(%x: f32[n, 3], %y: f32[m, 3], %k: int) -> (f32[t, 3], f32[s, 3], List[f32[_, 3]]) {
  %1: List[f32[_, 3]] = list.make(%x, %y) {element=type<f32[_, 3]>}
  %2: f32[s, 3] = list.get(%1, %k)
  list.append(%1, %2)
  %3: f32[t, 3] = list.cat(%1) {dim=0, symbol="t"}
  %4: f32[s, 3] = add(%2, %2)
  return(%3, %4, %1)
}
"""


def test_text_verifier_interpreter_and_native_code_agree() -> None:
    graph = ir.parse(GRAPH)
    ir.verify(graph)
    assert ir.parse(str(graph)) == graph
    module = generate(ir.run_pipeline(graph, verify=True))
    program = NativeProgram(Layout.of(module), compile_module(module).object)
    x, y = (np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32) for n in (2, 5))
    for k in (0, 1, -1):
        picked = [x, y][k]
        for joined, doubled, items in (ir.run(graph, [x, y, k]), program([x, y, k])):
            np.testing.assert_array_equal(joined, np.concatenate([x, y, picked]))
            np.testing.assert_array_equal(doubled, 2 * picked)
            assert [i.shape for i in items] == [(2, 3), (5, 3), picked.shape]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%x: f32[n, 3], %y: f32[m, 3]", "%x: f32[_, 3], %y: f32[_, 3]", "has an open size"),
        ("%4: f32[s, 3] = add(%2, %2)", "%4: f32[_, 3] = add(%2, %2)", "declared"),
        ("%2: f32[s, 3] = list.get", "%2: f32[_, 3] = list.get", "declared"),
        ("%2: f32[s, 3] = list.get", "%2: f32[n, 3] = list.get", "inferred"),
        ("%1: List[f32[_, 3]] = list.make", "%1: List[f32[n, 3]] = list.make", "inferred"),
    ],
)
def test_only_elements_have_open_sizes(old: str, new: str, message: str) -> None:
    assert old in GRAPH
    text = GRAPH.replace(old, new)
    with pytest.raises(ParseError, match=message):
        ir.parse(text)


def test_stack_and_cat_need_sizes_that_fit() -> None:
    text = """graph @f(%x: f32[n], %y: f32[m]) -> (f32[t, s]) {
  %1: List[f32[_]] = list.make(%x, %y) {element=type<f32[_]>}
  %2: f32[t, s] = list.stack(%1) {dim=0, symbol="t"}
  return(%2)
}
"""
    graph = ir.parse(text)
    ir.verify(graph)
    x = np.ones(3, np.float32)
    (found,) = ir.run(graph, [x, x])
    assert found.shape == (2, 3)
    with pytest.raises(RuntimeError, match="stack: the tensors of the list differ in their sizes"):
        ir.run(graph, [x, x[:2]])
    module = generate(ir.run_pipeline(graph, verify=True))
    program = NativeProgram(Layout.of(module), compile_module(module).object)
    assert program([x, x])[0].shape == (2, 3)
    with pytest.raises(RuntimeError, match="stack: the tensors of the list differ in their sizes"):
        program([x, x[:2]])


def test_reading_gives_new_symbols() -> None:
    element = TensorType(float32, (OPEN, 4, OPEN))
    sizes = Sizes()
    found = opened(TupleType((element, IntType())), sizes.fresh)
    assert isinstance(found, TupleType) and not has_open_sizes(found)
    first = found.elements[0]
    assert isinstance(first, TensorType)
    a, four, b = first.shape
    assert four == 4 and a != b and {str(a), str(b)} == set(sizes.unvalued)
    for held in (ListType(element), OptionalType(element)):
        assert opened(held, sizes.fresh) is held and not has_open_sizes(held) and not type_symbols(held)
    assert opened(element, sizes.fresh) != opened(element, sizes.fresh)


def test_types_of_lists_that_meet() -> None:
    n = symbol("n")
    one, other = TensorType(float32, (n, 3)), TensorType(float32, (2, 3))
    assert join_elements(one, other) == TensorType(float32, (OPEN, 3))
    assert join_elements(one, one) == one
    assert join_elements(one, TensorType(float32, (n,))) is None
    assert join_elements(one, TensorType(int64, (n, 3))) is None
    assert join_elements(IntType(), IntType()) == IntType()
    assert list(tensor_pairs(OptionalType(one), other)) == [(one, other)]
    assert list(tensor_pairs(ListType(one), ListType(other))) == [(one, other)]
    assert not list(tensor_pairs(one, TensorType(int64, (2, 3))))
