"""IR types: their text, substitution, joining where branches meet, and matching."""

import pytest
from ingot import ir
from ingot.ir.dims import Dim, symbol
from ingot.ir.matching import binding_symbols, match_types, required_symbols
from ingot.ir.types import join_types, substitute_type, type_dims, type_symbols

n, m = symbol("n"), symbol("m")
F32 = ir.dtypes.float32


def tensor(*sizes: Dim) -> ir.TensorType:
    return ir.TensorType(F32, sizes)


NESTED = ir.DictType(
    ir.StrType(),
    ir.ListType(
        ir.TupleType((tensor(n, 3), ir.OptionalType(ir.IntType(n * m)), ir.RecordType("P", (("x", ir.FloatType()),))))
    ),
)


def test_text() -> None:
    assert str(NESTED) == "Dict[str, List[Tuple[f32[n, 3], Optional[int<m*n>], Record[P, x: float]]]]"
    assert str(ir.TensorType(F32, (), "cuda:0")) == "f32[]@cuda:0"
    assert str(ir.RecordType("f.<locals>.P")) == 'Record["f.<locals>.P"]'


def test_symbols_and_substitution() -> None:
    assert type_symbols(NESTED) == {"n", "m"}
    assert [str(d) for d in type_dims(NESTED)] == ["n", "m*n"]
    replaced = substitute_type(NESTED, {"n": 2})
    assert type_symbols(replaced) == {"m"}
    assert str(replaced) == "Dict[str, List[Tuple[f32[2, 3], Optional[int<m*2>], Record[P, x: float]]]]"


def test_which_types_give_symbols_a_value() -> None:
    assert list(binding_symbols(ir.TupleType((tensor(m, n * 2), ir.IntType(n))))) == ["m", "n"]
    assert binding_symbols(NESTED) == {}
    assert required_symbols(NESTED) == frozenset()
    assert required_symbols(tensor(n * m)) == {"n", "m"}


@pytest.mark.parametrize(
    ("a", "b", "joined"),
    [
        (ir.IntType(3), ir.IntType(3), ir.IntType(3)),
        (ir.IntType(3), ir.IntType(n), ir.IntType()),
        (ir.NoneType(), ir.FloatType(), ir.OptionalType(ir.FloatType())),
        (ir.OptionalType(ir.IntType(1)), ir.IntType(2), ir.OptionalType(ir.IntType())),
        (ir.NoneType(), ir.NoneType(), ir.NoneType()),
        (ir.TupleType((ir.IntType(1), tensor(n))), ir.TupleType((ir.IntType(2), tensor(n))),
         ir.TupleType((ir.IntType(), tensor(n)))),
        (ir.IntType(), ir.FloatType(), None),
        (tensor(n), tensor(m), None),
        (ir.TupleType((ir.IntType(),)), ir.TupleType(()), None),
    ],
)  # fmt: skip
def test_join(a: ir.Type, b: ir.Type, joined: ir.Type | None) -> None:
    assert join_types(a, b) == joined
    assert join_types(b, a) == joined


def _match(declared: ir.Type, actual: ir.Type, *, widen: bool = False) -> dict[str, Dim] | None:
    bindings: dict[str, Dim] = {}
    return bindings if match_types(declared, actual, {"n", "m"}, bindings, widen=widen) else None


def test_matching() -> None:
    new, fresh = symbol("new"), symbol("fresh")
    assert _match(tensor(n), tensor(n)) == {}
    assert _match(tensor(n), tensor(m)) is None
    assert _match(tensor(new, new * 2), tensor(fresh, fresh * 2)) == {"new": fresh}
    assert _match(tensor(new, new), tensor(fresh, symbol("other"))) is None
    assert _match(tensor(new), tensor(n)) is None
    assert _match(tensor(new), tensor(n), widen=True) == {"new": n}
    assert _match(tensor(n), tensor(new), widen=True) is None
    assert _match(ir.IntType(), ir.IntType(n)) == {}
    assert _match(ir.IntType(n), ir.IntType()) is None
    assert _match(ir.IntType(new), ir.IntType(), widen=True) == {"new": new}
    assert _match(ir.OptionalType(tensor(n)), tensor(n)) == {}
    assert _match(ir.OptionalType(tensor(n)), ir.NoneType()) == {}
    assert _match(tensor(n), ir.OptionalType(tensor(n))) is None
    assert _match(tensor(n), tensor(n, 1)) is None
    assert _match(tensor(n), ir.TensorType(ir.dtypes.float64, (n,))) is None
    assert _match(tensor(n), ir.TensorType(F32, (n,), "cuda:0")) is None
    assert _match(NESTED, NESTED) == {}
    assert _match(ir.BoolType(), ir.IntType()) is None
