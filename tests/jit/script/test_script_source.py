"""Finding the source of functions, and what is live where."""

import ast
import linecache
from pathlib import Path
from typing import Any

import pytest
from ingot import jit
from ingot.jit.script.liveness import liveness
from ingot.jit.script.source import function_source

pair = (lambda x: x + 1, lambda x: x * 2)


def outer() -> Any:
    k = 3

    def inner(
        a: int,
    ) -> int:
        return a + k

    return inner


def test_lambdas_on_one_line_are_told_apart() -> None:
    assert [ast.unparse(function_source(f).node.body) for f in pair] == ["x + 1", "x * 2"]  # type: ignore[arg-type]


def test_places_are_those_of_the_file() -> None:
    source = function_source(outer())
    assert source.name == "inner"
    assert isinstance(source.node, ast.FunctionDef)
    place = source.location(source.node.body[0])
    assert (place.file, place.source) == (__file__, "        return a + k")
    assert Path(__file__).read_text().splitlines()[place.line - 1] == place.source


def test_columns_count_characters() -> None:
    text = 'def f(x):\n    return "äö", x.nope\n'
    linecache.cache["<columns>"] = (len(text), None, text.splitlines(keepends=True), "<columns>")
    namespace: dict[str, Any] = {}
    exec(compile(text, "<columns>", "exec"), namespace)
    source = function_source(namespace["f"])
    statement = source.node.body[0]  # type: ignore[index]
    place = source.location(statement.value.elts[1])
    assert place.source is not None
    assert place.source[place.column : place.end_column] == "x.nope"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "changed.py"
    file.write_text("def f(x):\n    return x\n")
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    file.write_text("\n\ndef g(x):\n    return x\n")
    with pytest.raises(jit.ScriptError, match="the file has changed since it was imported"):
        function_source(namespace["f"])


def test_liveness_of_loops_and_early_exits() -> None:
    text = """
def f(n, a, b):
    for i in range(n):
        c = a
        if i > b:
            break
        a = c + 1
    else:
        d = 2
    return a
"""
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef)
    loop = function.body[0]
    assert isinstance(loop, ast.For)
    result = liveness(function)
    assert result.head[loop] == {"a", "b"}
    assert result.after[loop] == {"a"}
    assert result.after[loop.body[0]] == {"a", "b", "c", "i"}
    assert result.leaving[loop.body[1]] == {"a", "b"}
