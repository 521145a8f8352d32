"""What inference learns about sizes: unification, guards, requirements, and reasoning from known equalities."""

import pytest
from ingot.ir import Guard, Sizes
from ingot.ir.dims import bcast, dim_max, dim_min, symbol

a, b, c = symbol("a"), symbol("b"), symbol("c")


def test_equal_examples_make_one_symbol() -> None:
    sizes = Sizes({"a": 3, "b": 3, "c": 4})
    assert sizes.equal(a, b, "message") == b
    assert sizes.resolve(a * 2 + c) == b * 2 + c
    assert sizes.substitution() == {"a": b}
    assert sizes.equal(c, 4, "message") == 4
    assert sizes.resolve(c) == 4
    with pytest.raises(RuntimeError, match="message"):
        sizes.equal(a, 5, "message")
    with pytest.raises(RuntimeError, match="message"):
        sizes.equal(2, 3, "message")


def test_what_cannot_be_solved_becomes_a_guard() -> None:
    sizes = Sizes({"a": 3, "b": 6})
    sizes.equal(a * 4, b * 2, "reason")
    assert sizes.remaining_guards() == [Guard(a * 4, b * 2, "reason")]
    sizes.equal(b, a * 2, "solves it")
    assert sizes.remaining_guards() == []


def test_sizes_without_examples_are_checked_at_run_time() -> None:
    sizes = Sizes({"a": 3})
    assert sizes.equal(a, b, "reason") == a
    assert sizes.equal(b, 7, "reason") == 7
    assert [(r.left, r.right) for r in sizes.requirements] == [(a, b), (b, 7)]
    assert sizes.guards == [] and sizes.solved == {}


@pytest.mark.parametrize(
    ("examples", "expected", "solved"),
    [((3, 3), b, {"a": b}), ((1, 3), b, {"a": 1}), ((3, 1), a, {"b": 1}), ((1, 1), b, {"a": b})],
)
def test_broadcast_with_examples(examples: tuple[int, int], expected: object, solved: dict[str, object]) -> None:
    sizes = Sizes(dict(zip("ab", examples, strict=True)))
    assert sizes.broadcast(a, b, "message") == expected
    assert sizes.substitution() == solved


def test_broadcast_without_examples() -> None:
    sizes = Sizes()
    assert sizes.broadcast(a, 1, "message") == a
    assert sizes.broadcast(a, b, "message") == bcast(a, b)
    assert sizes.broadcast(a, 4, "message") == 4
    assert sizes.requirements == [Guard(bcast(a, 4), 4, "message")]
    with pytest.raises(RuntimeError, match="at dimension 1 of 2 the sizes are 3 and 4"):
        sizes.broadcast_shapes((2, 3), (4,), name="add")
    assert sizes.broadcast_shapes((2, 1), (), (5, 1, 3), name="add") == (5, 2, 3)


def test_nothing_new_is_assumed_of_a_finished_graph() -> None:
    sizes = Sizes({"a": 3, "b": 6, "c": 3}, known=[Guard(a * 2, b)])
    assert sizes.equal(a * 2, b, "message") == a * 2
    assert sizes.requirements == []
    sizes.equal(a, c, "message")
    assert sizes.requirements == [Guard(a, c, "message")]
    assert sizes.solved == {}


def test_known_equalities_are_put_into_expressions() -> None:
    sizes = Sizes(known=[Guard(b, a * 2), Guard(c, b + 1), Guard(dim_min(a, 3), 3)])
    assert sizes.are_known_equal(c * 2, a * 4 + 2)
    assert sizes.are_known_equal(dim_min(a, 3) + b, a * 2 + 3)
    assert not sizes.are_known_equal(c, a)
    assert not sizes.are_known_equal(dim_max(a, 3), a)


def test_fresh_symbols_are_new() -> None:
    sizes = Sizes({"s0": 2}, taken=["s1"])
    assert sizes.fresh(5) == symbol("s2")
    assert sizes.hint(symbol("s2") * 2) == 10
    assert sizes.hint(sizes.fresh()) is None
