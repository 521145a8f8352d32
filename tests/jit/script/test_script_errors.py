"""Rejected programs: what is said, where, and what to write instead."""

# The programs are as people write them, odd ones included.
# ruff: noqa: F841

from pathlib import Path
from typing import Any

import ingot
import pytest
from ingot import jit, nn
from ingot.jit.script import script

FILE = Path(__file__).name
v = ingot.tensor([1.0, 2.0, 3.0])


def message(error: jit.ScriptError) -> str:
    """The error's text with only the base name of this file and without line numbers."""
    lines = []
    for line in str(error).replace(str(Path(__file__)), FILE).splitlines():
        head, _, rest = line.partition(f"{FILE}:")
        if rest:
            _, column, text = rest.split(":", 2) if rest.count(":") > 1 else (*rest.split(":", 1), "")
            line = f"{head}{FILE}:{column}:{text}" if text else f"{head}{FILE}:{column}"
        lines.append(line)
    return "\n".join(lines)


def unsupported(x: Any) -> Any:
    global counted
    counted = 1
    yield x

    class Made:
        pass


def misspelt_name(x: Any) -> Any:
    scale = 2
    return x * scael  # noqa: F821


def misspelt_method(x: Any) -> Any:
    return x.sume()


def wrong_shapes(x: Any) -> Any:
    return x @ x[:2]


def inner(x: Any) -> Any:
    return x.reshape(7, 7)


def wrong_in_a_call(x: Any) -> Any:
    return inner(x) + 1


def run_time_attribute(x: Any, n: int) -> Any:
    return x.unfold(0, n, 1)


def grows_aliased(x: Any, n: int) -> Any:
    items = [x]
    for _ in range(n):
        x.add_(1)
        items.append(x)
    return items


def ambiguous(x: Any, n: int) -> Any:
    h = x[0] if n > 1 else x[:, 0]
    h += 1
    return x


def different_ranks(x: Any, n: int) -> Any:
    items = [x]
    for i in range(n):
        items.append(x[i])
    return items


def endless(n: int) -> Any:
    return endless(n - 1) + 1


def run_time_key(x: Any) -> Any:
    d = {}
    d[x.sum()] = 1
    return d


def attribute_of_none(x: Any) -> Any:
    y = None
    return y.shape


def strings_and_numbers(x: Any) -> Any:
    return "a" + 1


class Naming(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label = ""

    def forward(self, x: Any) -> Any:
        self.label += "x"
        return x


GOLDEN: list[Any] = [
    (
        unsupported,
        (v,),
        f"""\
{FILE}:5: 'counted' is a variable from outside, which is a constant of the program (and 2 more below)
    counted = 1
    ^^^^^^^
  hint: return the new value, or keep it in a buffer of a Module
{FILE}:5: generators cannot be compiled
    yield x
    ^^^^^^^
  hint: append to a list and return it
{FILE}:5: classes cannot be defined inside a compiled function
    class Made:
    ^
  hint: define the class at module level""",
    ),
    (
        misspelt_name,
        (v,),
        f"""\
{FILE}:16: name 'scael' is not defined
    return x * scael  # noqa: F821
               ^^^^^
  hint: did you mean scale?""",
    ),
    (
        misspelt_method,
        (v,),
        f"""\
{FILE}:12: 'Tensor' object has no attribute 'sume'
    return x.sume()
           ^^^^^^
  hint: did you mean sum""",
    ),
    (
        wrong_shapes,
        (v,),
        f"""\
{FILE}:12: matmul: inner dimensions differ: f32[3] @ f32[2] (3 != 2)
    return x @ x[:2]
           ^^^^^^^^^
  hint: compare the shapes with what the operation needs; reshape or transpose""",
    ),
    (
        wrong_in_a_call,
        (v,),
        f"""\
{FILE}:12: reshape: shape '[7, 7]' is invalid for input of size 3, given [3]
    return x.reshape(7, 7)
           ^^^^^^^^^^^^^^^
  called from {FILE}:12 in wrong_in_a_call
    return inner(x) + 1
  hint: compare the shapes with what the operation needs; reshape or transpose""",
    ),
    (
        run_time_attribute,
        (v, 2),
        f"""\
{FILE}:12: unfold(): argument 'size' must be int known when the program is compiled, but here it is computed at \
run time
    return x.unfold(0, n, 1)
           ^^^^^^^^^^^^^^^^^
  hint: take it from a constant, a default argument or an attribute of the module""",
    ),
    (
        grows_aliased,
        (v, 2),
        f"""\
{FILE}:9: a tensor is written in place after it was put into a list that grows at run time
    x.add_(1)
    ^^^^^^^^^
  hint: append a copy: `items.append(x.clone())`""",
    ),
    (
        ambiguous,
        (v.reshape(1, 3).expand(3, 3).clone(), 2),
        f"""\
{FILE}:5: this in-place write may or may not change an argument of the function: it depends on the path taken
    h += 1
    ^^^^^^
  hint: make a copy first with `.clone()`, or write `x = x + y` instead of `x += y`""",
    ),
    (
        different_ranks,
        (v, 2),
        f"""\
{FILE}:5: a list whose length is known at run time only has elements of different types: f32[s0] and f32[]
    for i in range(n):
    ^
  hint: make all elements of a list the same type, with the same number of dimensions""",
    ),
    (
        run_time_key,
        (v,),
        f"""\
{FILE}:5: the key of a dict must be a number, a string or a tuple of them, given Tensor f32[]
    d[x.sum()] = 1
    ^^^^^^^^^^
  hint: take the number out: `x.item()`""",
    ),
    (
        attribute_of_none,
        (v,),
        f"""\
{FILE}:12: 'NoneType' object has no attribute 'shape'
    return y.shape
           ^^^^^^^
  hint: test it first: `if x is not None:`""",
    ),
    (
        strings_and_numbers,
        (v,),
        f"""\
{FILE}:12: can only concatenate str (not "int") to str
    return "a" + 1
           ^^^^^^^
  hint: convert numbers to text: `str(n)`, or an f-string""",
    ),
    (
        Naming(),
        (v,),
        f"""\
{FILE}:9: attribute 'label' of Naming is a constant of the compiled program and cannot be assigned
    self.label += "x"
    ^^^^^^^^^^^^^^^^^
  hint: attributes that are numbers can be assigned, and buffers: `self.register_buffer("label", ...)` in __init__""",
    ),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), GOLDEN, ids=lambda g: getattr(g, "__name__", ""))
def test_messages(refuse: Any, function: Any, arguments: Any, expected: str) -> None:
    got = message(refuse(function, *arguments))
    assert got == expected or (expected.endswith("did you mean sum") and got.startswith(expected))


def test_recursion_without_an_end_is_refused(refuse: Any) -> None:
    error = refuse(endless, 3)
    assert "endless calls itself in every way through it, so that what it returns is not known" in str(error)


def test_unsupported_syntax_is_refused_when_decorated() -> None:
    with pytest.raises(jit.ScriptError, match="is a variable from outside"):
        script(unsupported)


def test_what_an_operation_refuses_is_also_its_own_exception() -> None:
    with pytest.raises(RuntimeError, match="inner dimensions"), jit.executor("interpreter"):
        script(wrong_shapes)(v)


def test_a_failing_operation_on_a_path_not_taken_fails_only_there(compare: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        return x + y if x.shape[0] == y.shape[0] else x.sum()

    def g(x: Any, y: Any, flag: bool) -> Any:
        if flag:
            return x + y
        return x

    compare(f, (v, v), (v, v[:2]), (v[:2], v), (v[:2], v[:2]))
    scripted = compare(g, (v, v[:2], False), (v, v[:2], True), (v, v, True), (v[:2], v[:2], True))
    assert scripted.specialisations


def test_source_that_cannot_be_read_is_refused() -> None:
    namespace: dict[str, Any] = {}
    exec("def f(x):\n    return x", namespace)
    with pytest.raises(jit.ScriptError, match="cannot be read from '<string>'"):
        script(namespace["f"])
    with pytest.raises(TypeError, match="expected a function, Module or class, given int"):
        script(3)
    with pytest.raises((jit.ScriptError, TypeError)):
        script(len)


def test_backward_hooks_are_refused(refuse: Any) -> None:
    layer = nn.Linear(3, 3)
    layer.register_full_backward_hook(lambda *a: None)

    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    assert "backward hooks" in str(refuse(Hooked(), v))


def annotated(x: ingot.Tensor, n: int, scale: float = 1.0, flag: bool | None = None) -> Any:
    return x * n * scale


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((v, 2.5), "argument 'n' is annotated int, but float was given"),
        ((3, 2), "argument 'x' is annotated Tensor, but int was given"),
        ((v, 2, v), r"argument 'scale' is annotated float, but Tensor f32\[3\] was given"),
        ((v, 2, 1.0, 1.5), "argument 'flag' is annotated bool | None, but float was given"),
    ],
)
def test_annotations_are_checked_where_given(refuse: Any, arguments: Any, text: str) -> None:
    error = refuse(annotated, *arguments)
    assert text.replace("\\", "") in str(error)
    assert "def annotated(" in str(error)


def test_annotations_that_fit_or_mean_nothing_here_are_let_through(compare: Any) -> None:
    def f(x: "ingot.Tensor", n: float, other: "UnknownName" = None) -> Any:  # noqa: F821
        return x * n

    compare(annotated, (v, 2), (v, True, 2), (v, 2, 0.5, None), (v, 2, 0.5, True))
    compare(f, (v, 2), (v, 2.0))
