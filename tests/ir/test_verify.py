"""What the verifier refuses: broken links, scopes, schemas, types, sizes."""

from collections.abc import Callable

import pytest
from ingot import ir
from ingot.ir.dims import symbol

F32 = ir.dtypes.float32


def _graph() -> ir.Graph:
    return ir.parse("""
graph @f(%x: f32[n, 3], %c: bool, %k: int) -> (f32[n, 3]) {
  %1: f32[n, 3] = exp(%x)
  %2: f32[n, 3] = if(%c) {
    %3: f32[n, 3] = tanh(%1)
    yield(%3)
  } else {
    yield(%1)
  }
  %4: f32[n, 3] = loop(%k, %c, %2) (%i: int, %a: f32[n, 3]) {
    %5: f32[n, 3] = add(%a, %x)
    yield(%c, %5)
  }
  return(%4)
}""")


def test_a_valid_graph_passes() -> None:
    assert ir.verify(_graph()) is None


def _swap(graph: ir.Graph) -> None:
    block = graph.block.instructions
    block[0], block[1] = block[1], block[0]


def _escape(graph: ir.Graph) -> None:
    inner = graph.block.instructions[1].regions[0].instructions[0].result
    graph.block.terminator.operands[0] = inner


def _unlink(graph: ir.Graph) -> None:
    graph.block.instructions[0].block = None


def _unlink_result(graph: ir.Graph) -> None:
    graph.block.instructions[0].result.index = 4


def _unlink_region(graph: ir.Graph) -> None:
    graph.block.instructions[1].regions[0].parent = None


def _twice(graph: ir.Graph) -> None:
    graph.block.instructions.insert(1, graph.block.instructions[0])


def _no_terminator(graph: ir.Graph) -> None:
    graph.block.instructions.pop()


def _yield_in_graph(graph: ir.Graph) -> None:
    graph.block.terminator.op = ir.get_op("yield")


def _wrong_type(graph: ir.Graph) -> None:
    graph.block.instructions[0].result.type = ir.TensorType(F32, (3, 3))


def _unbound(graph: ir.Graph) -> None:
    graph.arguments[0].type = ir.TensorType(F32, (symbol("n") * 2, 3))


def _wrong_yield(graph: ir.Graph) -> None:
    graph.block.instructions[1].regions[1].terminator.operands.append(graph.arguments[2])


def _wrong_carried(graph: ir.Graph) -> None:
    graph.block.instructions[2].operands[2] = graph.arguments[2]


def _no_condition(graph: ir.Graph) -> None:
    graph.block.instructions[2].regions[0].terminator.operands[0] = graph.arguments[2]


def _if_of_int(graph: ir.Graph) -> None:
    graph.block.instructions[1].operands[0] = graph.arguments[2]


def _one_region(graph: ir.Graph) -> None:
    graph.block.instructions[1].regions.pop()


def _region_on_exp(graph: ir.Graph) -> None:
    region = ir.Block()
    graph.block.instructions[0].regions.append(region)


def _absent(graph: ir.Graph) -> None:
    graph.block.instructions[0].operands[0] = None


def _attribute(graph: ir.Graph) -> None:
    graph.block.instructions[0].attributes["alpha"] = 3


def _writes(graph: ir.Graph) -> None:
    graph.writes = [(1, 0)]


def _parameters(graph: ir.Graph) -> None:
    graph.parameters = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_swap, "is not defined before"),
        (_escape, "is out of scope"),
        (_unlink, "not linked to its block"),
        (_unlink_result, "result 0 is not linked"),
        (_unlink_region, "region is not linked"),
        (_twice, "occurs twice"),
        (_no_terminator, "must end in return"),
        (_yield_in_graph, "must end in return"),
        (_wrong_type, r"exp: declared f32\[3, 3\], inferred f32\[n, 3\]"),
        (_unbound, "the size n in"),
        (_wrong_yield, "the false branch yields"),
        (_wrong_carried, "the loop starts with int, expected f32"),
        (_no_condition, "next condition, a bool"),
        (_if_of_int, "expected a bool condition, given int"),
        (_one_region, "expected 2 regions, given 1"),
        (_region_on_exp, "only if, loop and try have regions"),
        (_absent, "'input' may not be absent"),
        (_attribute, "no attribute 'alpha'"),
        (_writes, "is written to argument 1"),
        (_parameters, "4 parameters and has 3"),
    ],
)
def test_broken_graphs(break_it: Callable[[ir.Graph], None], message: str) -> None:
    graph = _graph()
    break_it(graph)
    with pytest.raises(ir.VerifyError, match=message) as caught:
        ir.verify(graph, after="some pass")
    assert "after pass some pass: graph f" in str(caught.value)


def test_the_error_shows_the_users_line() -> None:
    graph = _graph()
    graph.block.instructions[0].location = ir.Location("model.py", 7, 4, source="    y = x.exp()")
    _wrong_type(graph)
    with pytest.raises(ir.VerifyError, match=r"model\.py:7:5") as caught:
        ir.verify(graph)
    assert caught.value.instruction is graph.block.instructions[0]


def _check(text: str) -> None:
    ir.verify(ir.parse(text, check=False))


def test_an_int_may_forget_its_value() -> None:
    _check("graph @f(%x: f32[n]) -> (int) { %a: int = dim() {expression=dim<n*2>} return(%a) }")
    with pytest.raises(ir.VerifyError, match="declared int<n>, inferred"):
        _check("graph @f(%x: f32[n]) -> (int<n>) { %a: int<n> = dim() {expression=dim<n*2>} return(%a) }")


def test_conditions_on_sizes_must_be_stated() -> None:
    text = "graph @f(%x: f32[n, 4], %y: f32[k, 3]) -> (f32[n, 3]) WHERE { %a: f32[n, 3] = matmul(%x, %y) return(%a) }"
    with pytest.raises(ir.VerifyError, match="matmul"):
        _check(text.replace("WHERE", ""))
    _check(text.replace("WHERE", "where (k == 4)"))
    _check(text.replace("WHERE", "").replace("k,", "4,"))
    checked = """graph @f(%x: f32[n, 4], %y: f32[k, 3]) -> (f32[n, 3]) {
      %1: int<k> = dim() {expression=dim<k>} %2: int<4> = constant() {value=4}
      require_equal(%1, %2) {message="inner sizes"}
      %a: f32[n, 3] = matmul(%x, %y) return(%a) }"""
    _check(checked)


def test_a_condition_inside_a_region_does_not_hold_after_it() -> None:
    with pytest.raises(ir.VerifyError, match="matmul"):
        _check("""graph @f(%x: f32[n, 4], %y: f32[k, 3], %c: bool) -> (f32[n, 3]) {
      if(%c) { %1: int<k> = dim() {expression=dim<k>} %2: int<4> = constant() {value=4}
        require_equal(%1, %2) {message="inner sizes"} yield() } else { yield() }
      %a: f32[n, 3] = matmul(%x, %y) return(%a) }""")


def test_example_sizes_repeat_decisions() -> None:
    text = """graph @f(%x: f32[n]) -> (f32[3]) where (min(n, 3) == 3) EXAMPLE {
      %0: int<0> = constant() {value=0} %1: int<3> = constant() {value=3}
      %2: f32[3] = slice(%x, %0, %1) return(%2) }"""
    _check(text.replace("EXAMPLE", "example (n = 5)"))
    with pytest.raises(ir.VerifyError, match="do not fulfil"):
        _check(text.replace("EXAMPLE", "example (n = 2)"))


def test_symbols_have_one_value() -> None:
    with pytest.raises(ir.VerifyError, match="symbol n has a value already"):
        _check('graph @f(%x: f32[n], %k: int) -> (int<n>) { %a: int<n> = bind_dim(%k) {symbol="n"} return(%a) }')
    with pytest.raises(ir.VerifyError, match="the size d in attribute 'expression' has no value"):
        _check("graph @f(%x: f32[n]) -> (int<d>) { %a: int<d> = dim() {expression=dim<d>} return(%a) }")


def test_sizes_may_change_in_a_loop() -> None:
    _check("""graph @f(%x: f32[n], %k: int, %c: bool) -> (f32[r]) {
      %1: f32[r] = loop(%k, %c, %x) (%i: int, %a: f32[s]) {
        %2: f32[s*2] = cat(%a, %a)
        yield(%c, %2)
      }
      return(%1) }""")
    with pytest.raises(ir.VerifyError, match=r"its region yields f32\[n\*2\], expected f32\[n\]"):
        _check("""graph @f(%x: f32[n], %k: int, %c: bool) -> (f32[n]) {
      %1: f32[n] = loop(%k, %c, %x) (%i: int, %a: f32[n]) {
        %2: f32[n*2] = cat(%a, %a)
        yield(%c, %2)
      }
      return(%1) }""")
    with pytest.raises(ir.VerifyError, match=r"the loop carries f32\[s\], expected f32\[n\]"):
        _check("""graph @f(%x: f32[n], %k: int, %c: bool) -> (f32[n]) {
      %1: f32[n] = loop(%k, %c, %x) (%i: int, %a: f32[s]) {
        %2: f32[s*2] = cat(%a, %a)
        yield(%c, %2)
      }
      return(%1) }""")


def test_branches_may_widen_to_optional_and_int() -> None:
    _check("""graph @f(%x: f32[n], %c: bool) -> (Optional[f32[n]], int, f32[m]) {
      %1: Optional[f32[n]], %2: int, %3: f32[m] = if(%c) {
        %a: int<1> = constant() {value=1}
        yield(%x, %a, %x)
      } else {
        %b: None = constant() {value=None} %d: int<2> = constant() {value=2} %e: f32[n*2] = cat(%x, %x)
        yield(%b, %d, %e)
      }
      return(%1, %2, %3) }""")
