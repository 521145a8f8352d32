"""Generated code against the interpreter: every op's samples, random graphs, control flow, scalars, errors."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ingot import ir
from ingot.ir.builder import Builder
from ingot.ir.ops._op import Op, all_ops, get_op
from ingot.ir.random_state import default_generator
from ingot.ir.types import BoolType, ComplexType, FloatType, IntType, Type
from ingot.jit.codegen.generate import generate
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.program import NativeProgram
from ingot.jit.runtime import pool
from lowering_cases import assert_same, case_of, native, reference, unjitted
from random_graphs import random_case, random_program

# Ops that Python evaluates, called back; everything else has a native form. Their list should get shorter.
ON_HOST = frozenset((Path(__file__).parent / "host_evaluated_ops.txt").read_text().split())

OPS = [
    op for op in all_ops()
    if op.evaluate is not None and tuple(op.samples()) and "." not in op.name and op.name not in ON_HOST
]  # fmt: skip
# One op of each kind of lowering; INGOT_TEST_NATIVE=all compiles the first sample of every op.
COMPILED = (
    "add", "floor_divide", "pow", "where", "cast", "gelu", "sum", "mean", "amax", "any", "softmax", "layer_norm",
    "transpose", "slice", "cat", "pad", "gather", "embedding", "index_put", "scatter_add", "argmax", "max_dim",
    "cumsum", "matmul", "linear", "conv2d", "conv2d_input_grad", "max_pool2d", "avg_pool2d_grad", "nonzero",
    "slice_scatter",
)  # fmt: skip


def _compiled() -> list[Op]:
    return OPS if os.environ.get("INGOT_TEST_NATIVE") == "all" else [get_op(name) for name in COMPILED]


def _name(op: Op) -> str:
    return op.name


@pytest.mark.parametrize("op", OPS, ids=_name)
def test_unjitted_sources_compute_what_the_interpreter_does(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_CHECK_BOUNDS", "1")
    with_kernels = 0
    for index, sample in enumerate(op.samples()):
        for symbolic in (False, True) if index < 2 else (False,):
            case = case_of(op, sample, symbolic=symbolic)
            default_generator.manual_seed(0)
            expected = reference(case)
            before = [np.array(a, copy=True) for a in case.arguments]
            program = unjitted(case.graph)
            default_generator.manual_seed(0)
            found = program(case.arguments)
            asks = any(site.message == "{host}" for site in program.layout.errors)
            with_kernels += not asks or not any("it has no kernel" in line for line in generate(case.graph).report)
            for a, b in zip(found, expected, strict=True):
                assert_same(a, b, sample.tolerance or 3e-6)
            for a, b in zip(case.arguments, before, strict=True):
                np.testing.assert_array_equal(a, b)
    assert with_kernels


@pytest.mark.parametrize("op", _compiled(), ids=_name)
def test_compiled_code_computes_what_the_interpreter_does(op: Op) -> None:
    sample = next(iter(op.samples()))
    case = case_of(op, sample, symbolic=True)
    for found, expected in zip(native(case.graph)[1](case.arguments), reference(case), strict=True):
        assert_same(found, expected, sample.tolerance or 3e-6)


@pytest.mark.parametrize("name", sorted(ON_HOST))
def test_what_has_no_kernel_is_evaluated_by_python(name: str) -> None:
    op = get_op(name)
    evaluated = 0
    for index, sample in enumerate(op.samples()):
        for symbolic in (False, True) if index < 2 else (False,):
            case = case_of(op, sample, symbolic=symbolic)
            report = generate(case.graph).report
            evaluated += any("is computed by numpy, in a call back: it has no kernel" in line for line in report)
            default_generator.manual_seed(0)
            expected = reference(case)
            default_generator.manual_seed(0)
            for a, b in zip(unjitted(case.graph)(case.arguments), expected, strict=True):
                assert_same(a, b, 3e-6)
    assert evaluated


# -- random graphs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(80))
def test_random_graphs_unjitted(seed: int) -> None:
    case = random_case(seed, symbolic=seed % 3 != 0)
    for found, expected in zip(unjitted(case.graph)(case.arguments), reference(case), strict=True):
        assert_same(found, expected, 2e-4)


@pytest.mark.parametrize("seed", [3, 11, 29])
def test_random_graphs_compiled(seed: int) -> None:
    case = random_case(seed)
    for found, expected in zip(native(case.graph)[1](case.arguments), reference(case), strict=True):
        assert_same(found, expected, 2e-4)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_unjitted(seed: int) -> None:
    case = random_program(seed)
    for found, expected in zip(unjitted(case.graph)(case.arguments), reference(case), strict=True):
        assert_same(found, expected, 2e-4)


@pytest.mark.parametrize("seed", [2, 5])
def test_random_programs_compiled(seed: int) -> None:
    case = random_program(seed)
    for found, expected in zip(native(case.graph)[1](case.arguments), reference(case), strict=True):
        assert_same(found, expected, 2e-4)


# -- sizes -----------------------------------------------------------------------------------------------------------

NORMALISE = """graph @normalise(%x: f32[m, n], %w: f32[n]) -> (f32[m, n], f32[m]) {
  %e: float = constant() {value=1e-5}
  %mean: f32[m, 1] = mean(%x) {dim=(1,), keepdim=True}
  %c: f32[m, n] = sub(%x, %mean)
  %q: f32[m, n] = mul(%c, %c)
  %v: f32[m, 1] = mean(%q) {dim=(1,), keepdim=True}
  %v2: f32[m, 1] = add(%v, %e)
  %s: f32[m, 1] = rsqrt(%v2)
  %y: f32[m, n] = mul(%c, %s)
  %z: f32[m, n] = mul(%y, %w)
  %r: f32[m] = sum(%z) {dim=(1,)}
  return(%z, %r)
}"""


@pytest.fixture(scope="module")
def normalise() -> tuple[ir.Graph, NativeProgram]:
    graph = ir.parse(NORMALISE)
    return graph, native(graph)[1]


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (2, 0), (7, 1), (1, 4099), (31, 97), (5, 8193)])
def test_one_kernel_serves_every_size(shape: tuple[int, int], normalise: tuple[ir.Graph, NativeProgram]) -> None:
    graph, program = normalise
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    w = np.linspace(1, 2, shape[1], dtype=np.float32)
    expected = ir.run(graph, [x.astype(np.float32), w])
    for a, b in zip(program([x, w]), expected, strict=True):
        assert_same(a, b, 1e-4)


def test_not_a_number_and_infinity_pass_through(normalise: tuple[ir.Graph, NativeProgram]) -> None:
    _, program = normalise
    x = np.ones((3, 40), np.float32)
    x[0, 17], x[1, 3] = np.nan, np.inf
    z, r = program([x, np.ones(40, np.float32)])
    assert np.isnan(z[0]).all() and np.isnan(r[0])
    assert np.isnan(z[1]).all()
    np.testing.assert_allclose(z[2], 0, atol=1e-6)


def test_operands_may_have_any_strides(normalise: tuple[ir.Graph, NativeProgram]) -> None:
    graph, program = normalise
    x = np.random.default_rng(1).standard_normal((12, 10)).astype(np.float32)[::-2, ::2]
    w = np.arange(10, dtype=np.float32)[::2]
    for a, b in zip(program([x, w]), ir.run(graph, [x, w]), strict=True):
        assert_same(a, b, 1e-5)


SUMS = """graph @sums(%x: f32[m, n]) -> (f32[], f32[n], f32[m]) {
  %a: f32[] = sum(%x)
  %b: f32[n] = sum(%x) {dim=(0,)}
  %c: f32[m] = sum(%x) {dim=(1,)}
  return(%a, %b, %c)
}"""


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    program = native(ir.parse(SUMS))[1]
    x = np.random.default_rng(0).standard_normal((611, 401)).astype(np.float32)
    threads = pool.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            pool.set_num_threads(count)
            results.append(program([x]))
    finally:
        pool.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    wide = x.astype(np.float64)
    for found, expected in zip(results[0], (wide.sum(), wide.sum(0), wide.sum(1)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-3)


# -- control flow ----------------------------------------------------------------------------------------------------

RNN = """graph @rnn(%x: f32[t, b, h], %h0: f32[b, h], %w: f32[h, h], %n: int<t>) -> (f32[b, h]) {
  %true: bool = constant() {value=True}
  %r: f32[b, h] = loop(%n, %true, %h0) (%i: int, %h: f32[b, h]) {
    %k: int<d0> = bind_dim(%i) {symbol="d0"}
    %last: int<min(d0, t - 1)> = dim() {expression=dim<min(d0, t - 1)>}
    require_equal(%last, %k) {message="out of range"}
    %xi: f32[b, h] = select(%x, %k) {dim=0}
    %m: f32[b, h] = matmul(%h, %w)
    %s: f32[b, h] = add(%xi, %m)
    %y: f32[b, h] = tanh(%s)
    yield(%true, %y)
  }
  return(%r)
}"""
SWAP = """graph @swap(%a: f32[n], %b: f32[n], %t: int) -> (f32[n], f32[n]) {
  %true: bool = constant() {value=True}
  %one: float = constant() {value=1.0}
  %r: f32[n], %q: f32[n] = loop(%t, %true, %a, %b) (%i: int, %u: f32[n], %v: f32[n]) {
    %u2: f32[n] = add(%u, %one)
    yield(%true, %v, %u2)
  }
  return(%r, %q)
}"""
BRANCH = """graph @branch(%a: f32[n], %b: f32[n], %c: bool) -> (f32[n], f32[n]) {
  %r: f32[n] = if(%c) { %z: f32[n] = mul(%a, %b) yield(%z) } else { yield(%b) }
  %s: f32[n] = add(%r, %a)
  return(%s, %r)
}"""
LIST = """graph @history(%a: f32[n], %t: int, %k: int) -> (f32[n], int) {
  %true: bool = constant() {value=True}
  %l: List[f32[n]] = list.make() {element=type<f32[n]>}
  %f: f32[n] = loop(%t, %true, %a) (%i: int, %x: f32[n]) {
    %y: f32[n] = mul(%x, %a)
    list.append(%l, %y)
    yield(%true, %y)
  }
  %p: f32[n] = list.get(%l, %k)
  %z: f32[n] = add(%p, %f)
  %len: int = list.length(%l)
  return(%z, %len)
}"""
LISTS = """graph @lists(%a: f32[n, m], %t: int, %i: int)
  -> (f32[d0, n, m], f32[n, d1], f32[n, d2, m], List[int], int, bool, int, List[int], f32[n, m]) {
  %true: bool = constant() {value=True}
  %m1: int = constant() {value=-1} %two: int = constant() {value=2} %zero: int = constant() {value=0}
  %l: List[f32[n, m]] = list.make() {element=type<f32[n, m]>}
  %k: List[int] = list.make(%two, %zero) {element=type<int>}
  %f: f32[n, m] = loop(%t, %true, %a) (%j: int, %x: f32[n, m]) {
  %y: f32[n, m] = mul(%x, %a)
  list.append(%l, %y)
  list.insert(%k, %zero, %j)
  yield(%true, %y) }
  %s: f32[d0, n, m] = list.stack(%l) {dim=0, symbol="d0"}
  %c: f32[n, d1] = list.cat(%l) {dim=1, symbol="d1"}
  %s1: f32[n, d2, m] = list.stack(%l) {dim=1, symbol="d2"}
  %kk: List[int] = list.slice(%k, _, %m1, _)
  list.extend(%kk, %k)
  %p: int = list.pop(%kk, %i)
  list.reverse(%kk)
  %has: bool = list.contains(%kk, %two)
  %cnt: int = list.count(%kk, %zero)
  %r: List[int] = list.repeat(%k, %two)
  %r2: List[int] = list.concatenate(%r, %kk)
  %rv: List[int] = list.slice(%r2, _, _, %m1)
  %pp: f32[n, m] = list.pop(%l, %m1)
  return(%s, %c, %s1, %kk, %p, %has, %cnt, %rv, %pp)
}"""
FILL = """graph @fill(%a: f32[n, m], %v: f32[m], %t: int) -> (f32[n, m], f32[m], f32[n, m])
  where (min(n - 1, 0) == 0) {
  %true: bool = constant() {value=True}
  %half: float = constant() {value=0.5}
  %zero: int<0> = constant() {value=0}
  %o: f32[n, m], %h: f32[m] = loop(%t, %true, %a, %v) (%i: int, %x: f32[n, m], %s: f32[m]) {
  %k: int<d0> = bind_dim(%i) {symbol="d0"}
  %lim: int<min(d0, n - 1)> = dim() {expression=dim<min(d0, n - 1)>}
  require_equal(%lim, %k) {message="out of range"}
  %s1: f32[m] = mul(%s, %half)
  %x1: f32[n, m] = select_scatter(%x, %s1, %k) {dim=0}
  yield(%true, %x1, %s1) }
  %y: f32[n, m] = neg(%a)
  %z: f32[n, m] = select_scatter(%y, %v, %zero) {dim=0}
  return(%o, %h, %z)
}"""
COLLATZ = """graph @collatz(%limit: int) -> (int) {
  %true: bool = constant() {value=True}
  %zero: int<0> = constant() {value=0}
  %one: int<1> = constant() {value=1}
  %two: int<2> = constant() {value=2}
  %three: int<3> = constant() {value=3}
  %best: int = loop(%limit, %true, %zero) (%i: int, %b: int) {
    %n0: int = scalar.add(%i, %one)
    %c0: bool = scalar.ne(%n0, %one)
    %n: int, %steps: int = loop(_, %c0, %n0, %zero) (%j: int, %m: int, %s: int) {
      %r: int = scalar.mod(%m, %two)
      %even: bool = scalar.eq(%r, %zero)
      %next: int = if(%even) {
        %h: int = scalar.floordiv(%m, %two)
        yield(%h)
      } else {
        %t: int = scalar.mul(%m, %three)
        %u: int = scalar.add(%t, %one)
        yield(%u)
      }
      %s1: int = scalar.add(%s, %one)
      %c: bool = scalar.ne(%next, %one)
      yield(%c, %next, %s1)
    }
    %more: int = scalar.max(%b, %steps)
    yield(%true, %more)
  }
  return(%best)
}"""
_VECTOR = np.arange(4, dtype=np.float32)
PROGRAMS: dict[str, tuple[str, list[list[Any]]]] = {
    "rnn": (
        RNN,
        [
            [np.ones((5, 2, 8), np.float32), np.zeros((2, 8), np.float32), np.eye(8, dtype=np.float32) * 0.5, 5],
            [np.ones((1, 3, 2), np.float32), np.ones((3, 2), np.float32), np.ones((2, 2), np.float32), 1],
        ],
    ),
    "swap": (SWAP, [[_VECTOR, -_VECTOR, t] for t in (0, 1, 2, 5)]),
    "branch": (BRANCH, [[_VECTOR, _VECTOR + 1, c] for c in (True, False)]),
    "list": (LIST, [[_VECTOR, 3, -1], [_VECTOR, 20, 4]]),
    "lists": (LISTS, [[np.arange(6, dtype=np.float32).reshape(2, 3) / 3, t, i] for t, i in ((3, 1), (1, -1), (12, 0))]),
    "fill": (FILL, [[np.arange(12, dtype=np.float32).reshape(4, 3), np.ones(3, np.float32), t] for t in (0, 1, 4)]),
    "collatz": (COLLATZ, [[0], [1], [30]]),
}


@pytest.mark.parametrize("jit", [False, True], ids=["unjitted", "native"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_control_flow(name: str, jit: bool) -> None:
    text, calls = PROGRAMS[name]
    graph = ir.parse(text)
    program = native(graph)[1] if jit else unjitted(graph)
    for arguments in calls:
        for found, expected in zip(program(arguments), ir.run(graph, arguments), strict=True):
            if isinstance(expected, np.ndarray):
                assert_same(found, expected)
            else:
                assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("jit", [False, True], ids=["unjitted", "native"])
def test_errors_are_pythons(jit: bool) -> None:
    program = native(ir.parse(LIST))[1] if jit else unjitted(ir.parse(LIST))
    with pytest.raises(IndexError, match="list index out of range"):
        program([_VECTOR, 2, 2])
    with pytest.raises(IndexError, match="list index out of range"):
        program([_VECTOR, 2, -3])


def test_integer_division_by_zero_is_reported() -> None:
    graph = ir.parse("graph @f(%a: i32[n], %b: i32[n]) -> (i32[n]) { %r: i32[n] = floor_divide(%a, %b) return(%r) }")
    program = native(graph)[1]
    a, b = np.array([7, -7, -(2**31)], np.int32), np.array([2, 2, -1], np.int32)
    np.testing.assert_array_equal(program([a, b])[0], [3, -4, -(2**31)])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        program([a, np.array([1, 0, 1], np.int32)])


def test_an_index_out_of_range_is_reported() -> None:
    graph = ir.parse(
        "graph @f(%t: f32[n, k], %i: i64[m]) -> (f32[m, k]) { %r: f32[m, k] = embedding(%i, %t) return(%r) }"
    )
    program = native(graph)[1]
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(program([table, np.array([2, 0])])[0], table[[2, 0]])
    for bad in (3, -1):
        with pytest.raises(IndexError, match="out of bounds"):
            program([table, np.array([0, bad])])


# -- results and arguments -------------------------------------------------------------------------------------------

WRITES = """graph @update(%x: f32[n], %g: f32[n]) -> (f32[n], f32[n]) writes (%x <- 0) {
  %h: float = constant() {value=0.5}
  %s: f32[n] = mul(%g, %h)
  %y: f32[n] = sub(%x, %s)
  %z: f32[n] = add(%y, %x)
  return(%y, %z)
}"""


def _graph_with_writes() -> ir.Graph:
    graph = ir.parse(WRITES.replace(" writes (%x <- 0)", ""))
    graph.writes = [(0, 0)]
    return graph


def test_a_written_argument_changes_after_it_was_read() -> None:
    program = native(_graph_with_writes())[1]
    x, g = np.arange(5, dtype=np.float32), np.ones(5, np.float32)
    before = x.copy()
    y, z = program([x, g])
    np.testing.assert_array_equal(x, before - 0.5)
    assert y is x
    np.testing.assert_array_equal(z, 2 * before - 0.5)


def test_results_may_be_one_value_a_view_or_an_argument() -> None:
    graph = ir.parse(
        "graph @f(%x: f32[n, m]) -> (f32[n, m], f32[n*m], f32[n, m], f32[n, m]) {\n"
        "  %y: f32[n, m] = neg(%x)\n"
        "  %v: f32[n*m] = flatten(%y)\n"
        "  return(%y, %v, %y, %x)\n"
        "}"
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y, v, again, same = native(graph)[1]([x])
    np.testing.assert_array_equal(y, -x)
    np.testing.assert_array_equal(v, -x.ravel())
    np.testing.assert_array_equal(again, -x)
    assert same is x


# -- scalars ---------------------------------------------------------------------------------------------------------


def _scalar_type(value: Any) -> Type | None:
    kinds: dict[type, Type] = {bool: BoolType(), int: IntType(), float: FloatType(), complex: ComplexType()}
    return kinds.get(type(value))


SCALAR_OPS = [op for op in all_ops() if op.name.startswith("scalar.") and op.name not in ("scalar.to_str",)]


@pytest.mark.parametrize("op", SCALAR_OPS, ids=_name)
def test_scalars_are_pythons(op: Op) -> None:
    programs: dict[Any, tuple[ir.Graph, Any]] = {}
    checked = 0
    for arguments in [*(s.args for s in op.samples()), *(e.args for e in op.errors())]:
        types = tuple(_scalar_type(a) for a in arguments)
        if None in types or (op.name == "scalar.pow" and arguments == (2, -1)):
            continue  # strings; an int to a power known to be negative is another graph
        if types not in programs:
            builder = Builder("scalars")
            values = [builder.argument(f"a{i}", t) for i, t in enumerate(types)]  # type: ignore[arg-type]
            try:
                builder.return_([builder.emit(op, *values)])
            except TypeError:
                continue
            programs[types] = builder.graph, unjitted(builder.graph)
        graph, program = programs[types]
        assert _outcome(program, arguments) == _outcome(partial(ir.run, graph), arguments)
        checked += 1
    assert checked or op.name in ("scalar.cmath", "scalar.same")  # with an attribute, and of containers


def _outcome(run: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        (value,) = run(list(arguments))
    except Exception as error:
        return (type(error),)
    return type(value), "nan" if value != value else value


# -- readable sources ------------------------------------------------------------------------------------------------

GOLDEN = """
@body
def k_mul_add_maximum_HASH_body(n0, x0, x1, y0, lo, hi):
    for i0 in range(lo // n0, (hi - 1) // n0 + 1):
        for i1 in range(max(lo - i0 * n0, 0), min(hi - i0 * n0, n0)):
            v0 = x0[i0 * n0 + i1]
            v1 = x1[i1]
            # mul
            v2 = (v0 * v1)
            # add
            v3 = (v2 + np.float32(0.5))
            # maximum
            v4 = maximum(v3, v0)
            y0[i0 * n0 + i1] = v4


@kernel
def k_mul_add_maximum_HASH(p, lo, hi):
    k_mul_add_maximum_HASH_body(
        slot_i64(p, 0),
        pointer_f32(slot_i64(p, 1)),
        pointer_f32(slot_i64(p, 2)),
        pointer_f32(slot_i64(p, 3)),
        lo,
        hi,
    )
"""


def test_kernels_read_like_what_one_would_write() -> None:
    module = generate(
        ir.parse(
            "graph @f(%x: f32[m, n], %w: f32[n]) -> (f32[m, n]) {\n"
            "  %h: float = constant() {value=0.5}\n"
            "  %a: f32[m, n] = mul(%x, %w)\n"
            "  %b: f32[m, n] = add(%a, %h)\n"
            "  %c: f32[m, n] = maximum(%b, %x)\n"
            "  return(%c)\n"
            "}"
        )
    )
    (kernel,) = module.kernels
    digest = kernel.name.rsplit("_", 1)[1]
    assert kernel.source[kernel.source.index("@body") :].strip() == GOLDEN.strip().replace("HASH", digest)


def _kernel_names(module: GeneratedModule) -> list[str]:
    return [k.name for k in module.kernels]


def test_equal_layers_share_kernels() -> None:
    layer = "%{o}: f32[b, {n}] = linear(%{i}, %w{k}, %c{k})\n  %r{k}: f32[b, {n}] = relu(%{o})\n"
    text = "graph @f(%x: f32[b, 64], %w0: f32[96, 64], %c0: f32[96], %w1: f32[128, 96], %c1: f32[128]) "
    text += "-> (f32[b, 128]) {\n  " + layer.format(o="p", i="x", k=0, n=96) + "  "
    text += layer.format(o="q", i="r0", k=1, n=128) + "  return(%r1)\n}"
    names = _kernel_names(generate(ir.parse(text)))
    assert sum(name.startswith("k_linear_add_relu") for name in names) == 1
