"""The algebra of symbolic sizes, compared with Python's own integers."""

import random

import pytest
from ingot.ir.dims import (
    Dim,
    DimExpr,
    bcast,
    dim_hint,
    dim_max,
    dim_min,
    is_nonnegative,
    parse_dim,
    product,
    substitute,
    symbol,
    symbols,
)

n, m, h = symbol("n"), symbol("m"), symbol("h")


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (n + 0, "n"),
        ((n + 1) * 4 - 4, "n*4"),
        (n - n, "0"),
        (n * m - m * n, "0"),
        (3 - n, "-n + 3"),
        (-(n * 2), "-n*2"),
        (n * n, "n*n"),
        (n * 12 // 4, "n*3"),
        ((n * 4 + 6) // 4, "n + 1"),
        ((h - 2) // 2 + 1, "(h//2)"),
        ((h + 5) // 4, "((h + 1)//4) + 1"),
        ((h // 2) // 3, "(h//6)"),
        ((h // 2 - 1) // 2, "((h + 2)//4) - 1"),
        (n * m // n, "m"),
        ((n * m + n) // n, "m + 1"),
        (((h - 1) * (m - 1) * n) // ((h - 1) * (m - 1)), "n"),
        ((n * 4 + 3) % 4, "3"),
        ((n * 6 + 7) % 4, "((n*2 + 3) % 4)"),
        (n % 1, "0"),
        (n * m % m, "0"),
        (dim_max(n, n), "n"),
        (dim_max(n + 1, n), "n + 1"),
        (dim_min(n, n - 2), "n - 2"),
        (dim_max(n, 0), "n"),
        (bcast(n, 1), "n"),
        (bcast(n, m), "bcast(m, n)"),
        (7 // (n * 0 + 2), "3"),
        (product((n, 2, m)), "m*n*2"),
    ],
)
def test_normal_form(dim: Dim, text: str) -> None:
    assert str(dim) == text
    assert parse_dim(text) == dim


def _random_dim(source: random.Random, depth: int) -> tuple[Dim, str]:
    """An expression, built by the algebra and as Python text."""
    if depth == 0 or source.random() < 0.1:
        if source.random() < 0.6:
            name = source.choice("nmh")
            return symbol(name), name
        number = source.randint(-6, 6)
        return number, f"({number})"
    (a, left), (b, right) = _random_dim(source, depth - 1), _random_dim(source, depth - 1)
    match source.choice("++--**/%Mm"):
        case "+":
            return a + b, f"({left} + {right})"
        case "-":
            return a - b, f"({left} - {right})"
        case "*":
            return a * b, f"({left} * {right})"
        case "/" if b != 0:
            return a // b, f"({left} // {right})"
        case "%" if b != 0:
            return a % b, f"({left} % {right})"
        case "M":
            return dim_max(a, b), f"max({left}, {right})"
        case "m":
            return dim_min(a, b), f"min({left}, {right})"
    return a, left


def test_values_agree_with_python_and_text_round_trips() -> None:
    source = random.Random(1)
    compared = 0
    for _ in range(2000):
        dim, text = _random_dim(source, 3)
        assert parse_dim(str(dim)) == dim
        assert parse_dim(text) == dim
        for _ in range(3):
            values = {name: source.randint(0, 9) for name in "nmh"}
            try:
                expected = eval(text, {"max": max, "min": min, **values})
            except ZeroDivisionError:
                continue
            assert substitute(dim, values) == expected, (text, values)
            assert eval(str(dim), {"max": max, "min": min, **values}) == expected
            compared += 1
    assert compared > 4000


def test_substitution_is_simultaneous_and_normalises() -> None:
    assert substitute(n - m, {"n": m, "m": n}) == m - n
    assert substitute(n * 4 % m, {"m": 4}) == 0
    assert substitute(n * 4 // m, {"m": 4}) == n
    assert substitute(bcast(n, m), {"m": 1}) == n
    assert substitute(dim_max(n, m), {"n": 3, "m": 5}) == 5
    assert substitute(n + m, {}) == n + m
    with pytest.raises(ValueError, match="sizes 5 and 3 do not broadcast"):
        substitute(bcast(n, m), {"n": 3, "m": 5})


def test_equality_and_hash_are_structural() -> None:
    assert (n + m) * (n - m) == n * n - m * m
    assert hash((n + m) * 2) == hash(2 * m + n * 2)
    assert n != m and n != 3
    assert len({n + 1, 1 + n, symbol("n") + 1}) == 1


def test_unknown_sizes_decide_nothing() -> None:
    with pytest.raises(TypeError, match="cannot decide a branch"):
        bool(n)
    with pytest.raises(TypeError, match="plain int"):
        range(n)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        n // 0
    with pytest.raises(ZeroDivisionError):
        n % 0


def test_symbols_and_hints() -> None:
    assert symbols(dim_max(n, m // h)) == {"n", "m", "h"}
    assert symbols(3) == frozenset()
    assert dim_hint(n * 2 + 1, {"n": 4}) == 9
    assert dim_hint(n + m, {"n": 4}) is None
    assert dim_hint(bcast(n, m), {"n": 4, "m": 3}) is None
    assert is_nonnegative(n * m + 2) and not is_nonnegative(n - 1)


@pytest.mark.parametrize("name", ["", "a b", "1a", "max", "if", "é", "a.b", "None"])
def test_names_that_are_no_symbols(name: str) -> None:
    with pytest.raises(ValueError, match="ASCII identifier"):
        symbol(name)


@pytest.mark.parametrize(
    "text",
    [
        "", "n +", "(n", "n)", "n n", "2n", "n**2", "n/2", "1.5", "f(n)", "max(n)", "max(n, m, h)", "n.x", "n[0]",
        "'n'", "n // 0", "n % 0", "99999999999999999999", "lambda: 1", "n if m else h", "not n", "n\\", "n#", "é",
        "--" * 60 + "n", "(" * 60 + "n" + ")" * 60, "n" * 1001, "0x10", "1_0", "(a+b+c+d+e+f)*" * 20 + "1",
    ],
)  # fmt: skip
def test_texts_that_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"dimension|size"):
        parse_dim(text)


def test_expressions_stay_bounded() -> None:
    big: Dim = symbol("a") + symbol("b") + symbol("c") + 1
    with pytest.raises(ValueError, match="too complex"):
        for _ in range(8):
            big = big * big
    assert isinstance(n, DimExpr)
