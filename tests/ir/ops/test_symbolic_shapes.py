"""Sizes that ops infer where their operands' sizes are symbols: readable, with the conditions they rest on."""

from typing import Any

import pytest
from ingot.ir.builder import Builder
from ingot.ir.dims import parse_dim
from ingot.ir.dtypes import float32
from ingot.ir.ops._op import get_op
from ingot.ir.sizes import STATIC, Sizes
from ingot.ir.types import IntType, TensorType


def infer(sizes: Sizes, name: str, *operands: Any, **attributes: Any) -> Any:
    """The type of the op's result; sizes and ints are given as text or numbers."""
    op = get_op(name)
    bound, normalised = op.schema.bind(*operands, **attributes)
    (result,) = op.infer_types(sizes, tuple(map(as_type, bound)), normalised)
    return result


def as_type(value: Any) -> Any:
    match value:
        case tuple() | list():
            return tuple(map(as_type, value))
        case str():
            return IntType(parse_dim(value))
        case int():
            return IntType(value)
    return value


def tensor(*shape: int | str) -> TensorType:
    return TensorType(float32, tuple(parse_dim(d) if isinstance(d, str) else d for d in shape))


def shape_of(sizes: Sizes, name: str, *operands: Any, **attributes: Any) -> str:
    type = infer(sizes, name, *operands, **attributes)
    return str([sizes.resolve(d) for d in type.shape])


def conditions(sizes: Sizes) -> list[str]:
    return [f"{g.left} == {g.right}" for g in sizes.remaining_guards()]


@pytest.mark.parametrize(
    ("start", "stop", "step", "expected", "guards"),
    [
        (None, None, 1, "[n]", []),
        (0, "n", 1, "[n]", []),
        (1, None, 1, "[n - 1]", ["min(n, 1) == 1"]),
        (None, "n - 1", 1, "[n - 1]", ["min(n - 1, 0) == 0"]),
        (None, -1, 1, "[n - 1]", ["min(n - 1, 0) == 0"]),
        (-3, None, 1, "[3]", ["min(n - 3, 0) == 0"]),
        (None, 100, 1, "[n]", ["min(n, 100) == n"]),
        (None, None, 2, "[((n + 1)//2)]", []),
        ("m", None, 1, "[-m + n]", ["min(m, n) == m"]),
        (None, 9223372036854775807, 1, "[n]", []),
    ],
)
def test_slice_of_a_symbolic_size(start: Any, stop: Any, step: int, expected: str, guards: list[str]) -> None:
    sizes = Sizes({"n": 7, "m": 2})
    assert shape_of(sizes, "slice", tensor("n"), start, stop, step=step) == expected
    assert conditions(sizes) == guards


def test_slice_past_the_example_size_is_empty() -> None:
    sizes = Sizes({"n": 3})
    assert shape_of(sizes, "slice", tensor("n"), 5, None) == "[0]"
    assert conditions(sizes) == ["min(n, 5) == n"]


def test_slice_without_examples_is_exact_for_every_size() -> None:
    sizes = Sizes()
    assert shape_of(sizes, "slice", tensor("n"), 1, None) == "[n - min(n, 1)]"
    assert sizes.requirements == []


def test_select_with_a_symbol_checks_it_where_it_is_not_known() -> None:
    sizes = Sizes()
    assert shape_of(sizes, "select", tensor("n", 4), "i", dim=0) == "[4]"
    assert [str(r) for r in sizes.requirements] == ["min(i, n - 1) == i"]


def test_select_of_an_unknown_int_is_left_to_the_run() -> None:
    sizes = Sizes()
    assert shape_of(sizes, "select", tensor("n", 4), IntType(), dim=0) == "[4]"
    assert sizes.requirements == []


@pytest.mark.parametrize(
    ("shape", "wanted", "expected"),
    [
        (("n", "c", 4, 5), ("n", -1), "[n, c*20]"),
        (("n", 6), (-1, 2, 3), "[n, 2, 3]"),
        (("n", "m"), (-1,), "[m*n]"),
        (("n", 12), ("n*3", 4), "[n*3, 4]"),
        (("n", "m"), ("m", -1), "[m, n]"),
    ],
)
def test_reshape_infers_the_missing_size(shape: Any, wanted: Any, expected: str) -> None:
    sizes = Sizes({"n": 3, "m": 4, "c": 2})
    assert shape_of(sizes, "reshape", tensor(*shape), wanted) == expected
    assert conditions(sizes) == []


def test_operands_that_must_agree_become_one_symbol() -> None:
    sizes = Sizes({"a": 3, "b": 5, "c": 5, "d": 2})
    assert shape_of(sizes, "matmul", tensor("a", "b"), tensor("c", "d")) == "[a, d]"
    assert sizes.resolve(parse_dim("b")) == sizes.resolve(parse_dim("c"))


def test_convolution_sizes() -> None:
    sizes = Sizes({"n": 2, "h": 9, "w": 8})
    weight = tensor(16, 3, 3, 3)
    assert shape_of(sizes, "conv2d", tensor("n", 3, "h", "w"), weight, None, 1, 1) == "[n, 16, h, w]"
    halved = "[n, 16, ((h + 1)//2), ((w + 1)//2)]"
    assert shape_of(sizes, "conv2d", tensor("n", 3, "h", "w"), weight, None, 2, 1) == halved
    assert shape_of(sizes, "conv2d", tensor("n", 3, "h", "w"), weight, None, 1, "same") == "[n, 16, h, w]"
    assert shape_of(sizes, "max_pool2d", tensor("n", 3, "h", "w"), 2) == "[n, 3, (h//2), (w//2)]"
    assert conditions(sizes) == []


def test_expand_of_a_size_whose_example_is_1_rests_on_it() -> None:
    sizes = Sizes({"n": 1})
    assert shape_of(sizes, "expand", tensor("n", 3), (4, -1)) == "[4, 3]"
    assert sizes.resolve(parse_dim("n")) == 1


def test_squeeze_keeps_what_was_above_1() -> None:
    sizes = Sizes({"n": 4, "m": 1})
    assert shape_of(sizes, "squeeze", tensor("n", "m", 1)) == "[n]"
    assert conditions(sizes) == ["min(n, 2) == 2"]
    with pytest.raises(RuntimeError, match="known at run time only"):
        infer(Sizes(), "squeeze", tensor("n", 1))


def test_sums_and_products_of_sizes_stay_expressions() -> None:
    sizes = Sizes({"n": 6, "m": 3})
    for name, left, right, expected in (
        ("add", "n", 1, "n + 1"),
        ("sub", "n", "m", "-m + n"),
        ("mul", "n", "m", "m*n"),
        ("floordiv", "n", 2, "(n//2)"),
        ("mod", "n", 2, "(n % 2)"),
        ("max", "n", 4, "max(n, 4)"),
        ("pow", "n", 2, "n*n"),
    ):
        assert str(infer(sizes, f"scalar.{name}", left, right).value) == expected
    assert conditions(sizes) == []


def test_a_symbolic_divisor_must_stay_above_zero() -> None:
    sizes = Sizes({"n": 6, "m": 3})
    assert str(infer(sizes, "scalar.floordiv", "n*m", "m").value) == "n"
    assert conditions(sizes) == ["min(m, 1) == 1"]
    assert infer(Sizes(), "scalar.floordiv", "n", "m").value is None


def test_an_int_too_large_for_a_size_carries_none() -> None:
    assert infer(Sizes(), "scalar.mul", 1 << 40, 1 << 40).value is None


def test_the_static_sizes_stay_empty() -> None:
    infer(STATIC, "nonzero", tensor(3, 4))
    infer(STATIC, "slice", tensor(3, 4), 1, None)
    assert not (STATIC.guards or STATIC.requirements or STATIC.solved or STATIC.hints)


def test_each_data_dependent_size_is_a_new_symbol() -> None:
    builder = Builder("f")
    x = builder.argument("x", tensor("n"))
    first, second = builder.emit("nonzero", x), builder.emit("nonzero", x)
    assert first.type != second.type
