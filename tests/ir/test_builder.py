"""Building graphs: inference while building, conditions on sizes, and rules written in public ops."""

import numpy as np
import pytest
from ingot import ir
from ingot.ir.ops._op import F
from ingot.ir.symbolic import SymbolicTensor, building, unwrap, wrap

F32 = ir.dtypes.float32


def _tensor(builder: ir.Builder, name: str, *sizes: object) -> ir.Value:
    return builder.argument(name, ir.TensorType(F32, sizes))  # type: ignore[arg-type]


def test_equal_sizes_become_one_symbol_everywhere() -> None:
    builder = ir.Builder("f")
    x, y = _tensor(builder, "x", builder.sizes.fresh(4)), _tensor(builder, "y", builder.sizes.fresh(4))
    before = builder.emit("exp", x)
    twice = builder.dim(x.type.shape[0] * 2)  # type: ignore[attr-defined]
    builder.return_([builder.emit("add", before, y), twice])
    graph = builder.finish()
    ir.verify(graph)
    assert len({a.type for a in graph.arguments}) == 1
    assert graph.guards == []
    assert [str(r.type) for r in graph.results] == ["f32[s1]", "int<s1*2>"]


def test_guards_come_with_example_sizes() -> None:
    builder = ir.Builder("f")
    n, m = builder.sizes.fresh(4), builder.sizes.fresh(3)
    x = _tensor(builder, "x", n, m)
    with building(builder):
        result = F.reshape(wrap(builder, x), (6, 2))
    builder.return_([result.value])
    graph = builder.finish()
    ir.verify(graph)
    assert [str(g) for g in graph.guards] == ["s0*s1 == 12"]
    assert graph.examples == {"s0": 4, "s1": 3}
    assert ir.run(graph, [np.zeros((2, 6), np.float32)])[0].shape == (6, 2)
    with pytest.raises(RuntimeError, match="s0\\*s1 == 12 is needed, given 15 and 12"):
        ir.run(graph, [np.zeros((3, 5), np.float32)])


def test_conditions_on_sizes_from_data_are_checked_where_they_arise() -> None:
    builder = ir.Builder("f")
    x, k = _tensor(builder, "x", builder.sizes.fresh(4)), builder.argument("k", ir.IntType())
    size, _ = builder.as_dim(k)
    full = builder.emit("full", size, builder.constant(1.0), dtype=F32)
    with building(builder):
        result = F.where(F.gt(wrap(builder, full), 0.0), wrap(builder, x), wrap(builder, x))
        rows = F.reshape(wrap(builder, full), (4,))
    builder.return_([result.value, rows.value])
    graph = builder.finish()
    ir.verify(graph)
    assert "require_equal" in [i.op.name for i in graph.walk()]
    x_data = np.ones(4, np.float32)
    assert ir.run(graph, [x_data, 4], check=True)[1].shape == (4,)
    with pytest.raises(RuntimeError, match=r"at run time|sizes 5 and 4|broadcast"):
        ir.run(graph, [x_data, 5])


def test_rules_see_tensors_and_python_numbers() -> None:
    builder = ir.Builder("f")
    x = wrap(builder, _tensor(builder, "x", 3))
    assert isinstance(x, SymbolicTensor)
    assert (x.shape, x.dtype, x.ndim) == ((3,), F32, 1)
    assert wrap(builder, None) is None
    assert wrap(builder, builder.constant(2.5)) == 2.5
    assert unwrap(builder, x) is x.value
    for given, type in [(1, "int<1>"), (True, "bool"), (np.float32(2), "float"), (np.zeros(2), "f64[2]"), ("s", "str")]:
        assert str(unwrap(builder, given).type) == type  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="a rule passed object"):
        unwrap(builder, object())


def test_building_is_left_on_errors_and_nests() -> None:
    outer, inner = ir.Builder("outer"), ir.Builder("inner")
    x, y = wrap(outer, _tensor(outer, "x", 3)), wrap(inner, _tensor(inner, "y", 3))
    with building(outer):
        with pytest.raises(TypeError, match="must be Tensor"), building(inner):
            F.exp(y)
            F.exp("no tensor")
        F.tanh(x)
    assert [i.op.name for i in outer.graph.block.instructions] == ["tanh"]
    assert next(i.op.name for i in inner.graph.walk()) == "exp"


def test_locations_are_given_to_what_is_built() -> None:
    builder = ir.Builder("f")
    x = _tensor(builder, "x", 3)
    place = ir.Location("m.py", 4)
    with builder.at(place):
        inside = builder.emit("exp", x)
        with builder.at(None):
            still = builder.emit("exp", x)
    outside = builder.emit("exp", x)
    assert [v.instruction.location for v in (inside, still, outside)] == [place, place, None]  # type: ignore[union-attr]


def test_sizes_must_be_ints() -> None:
    builder = ir.Builder("f")
    with pytest.raises(TypeError, match="a size must be an int, given float"):
        builder.as_dim(builder.constant(1.5))


def test_arrays_are_equal_by_content() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    array = ir.Array(data, "a")
    assert array == ir.Array(np.asfortranarray(data), "b")
    assert hash(array) == hash(ir.Array(data.copy()))
    assert array != ir.Array(data.reshape(3, 2))
    assert array != ir.Array(data.astype(np.float64))
    assert array != ir.Array(data + 1)
    bare = ir.Array(None, "a", digest=array.digest, dtype=data.dtype, shape=(2, 3))
    assert bare == array
    with pytest.raises(ValueError, match="has no data"):
        bare.require()
    with pytest.raises(ValueError, match="needs its digest"):
        ir.Array(None)


def test_errors_show_the_line_and_a_caret() -> None:
    place = ir.Location("m.py", 3, 11, 12, "f", "    return y + 1")
    call = ir.Location("n.py", 9, 0, None, "main", "f()")
    error = ir.LocatedError("no such name: y", place, chain=(call,), hint="did you mean x?")
    assert str(error).splitlines() == [
        "m.py:3:12: no such name: y",
        "    return y + 1",
        "           ^",
        "  called from n.py:9:1 in main",
        "    f()",
        "  hint: did you mean x?",
    ]
    assert str(ir.LocatedError("plain")) == "plain"
