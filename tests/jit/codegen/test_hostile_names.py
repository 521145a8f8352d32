"""Names, places and texts of a graph from elsewhere never become code: not in kernels, not in drivers."""

import ast
import re
import warnings
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import ir, jit
from ingot.eager.tensor import Tensor
from ingot.ir.symbolic import building, unwrap, wrap
from ingot.jit.codegen.generate import generate
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.errors import FallbackWarning, Unsupported
from ingot.jit.specialisation import Specialisation
from ingot.jit.structure import LEAF

HOSTILE = "x\"'\n    PWNED()\r    PWNED()\n#\"\"\"'''\\"


def quoted(text: str) -> str:
    """The text as the graph language writes it."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c) for c in text) + '"'


def check(source: str) -> None:
    tree = ast.parse(source)
    assert not any(isinstance(node, ast.Name) and node.id == "PWNED" for node in ast.walk(tree)), source


def check_module(module: GeneratedModule) -> None:
    for kernel in module.kernels:
        check(kernel.source)
    check(module.driver_source)


def graph_of(op: ir.Op, sample: Any) -> ir.Graph | None:
    """A graph of one instruction on the sample's arrays; None where the sample has what is no array or number."""
    builder = ir.Builder("sample")

    def argument(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        kind = ir.TensorType(ir.dtypes.from_numpy(value.dtype), tuple(value.shape))
        return wrap(builder, builder.argument("x", kind))

    try:
        operands, attributes = op.schema.bind(*map(argument, sample.args), **sample.kwargs)
        with building(builder):
            flat = [unwrap(builder, operand) for operand in operands]
            builder.return_(builder.emit_all(op, flat, attributes))
    except Exception:
        return None
    return builder.finish()


def hostile(graph: ir.Graph) -> ir.Graph:
    """The graph with a hostile name, and hostile names and places of its values and instructions."""
    text = re.sub(r"^graph @\w+", lambda _: f"graph @{quoted(HOSTILE)}", str(graph))
    text = re.sub(r"%(x[\w.]*)", lambda m: "%" + quoted(HOSTILE + m[1]), text)
    place = f" loc({quoted(HOSTILE)}:3:0-5 in {quoted(HOSTILE)})"
    return ir.parse(re.sub(r"^(  %.* = [\w.]+\(.*[^{])$", lambda m: m[1] + place, text, flags=re.MULTILINE))


@pytest.mark.slow
def test_ops_with_hostile_names_and_places() -> None:
    checked = 0
    for op in ir.all_ops():
        for sample in op.samples()[:2]:
            graph = graph_of(op, sample)
            if graph is None:
                continue
            try:
                module = generate(hostile(graph))
            except Unsupported:
                continue
            check_module(module)
            checked += 1
    assert checked > 100


def test_a_graph_that_runs() -> None:
    name = quoted(HOSTILE)
    graph = ir.parse(
        f"""graph @{name}(%{name}: f32[n], %k: int) -> (f32[n]) {{
          %y: f32[n] = exp(%{name}) loc({name}:3:0-5 in {name})
          %c: int = constant() {{value=3}}
          %b: bool = scalar.gt(%k, %c)
          if(%b) {{
            %m: str = constant() {{value={name}}}
            raise(%m) {{exception="ValueError"}} loc({name}:5:0 in {name})
            yield()
          }} else {{
            yield()
          }}
          return(%y)
        }}"""
    )
    specialisation = Specialisation(graph.name, graph, LEAF)
    check(specialisation.source())
    for executor in ("python", "native"):
        program = specialisation.program(executor)
        np.testing.assert_allclose(program([np.zeros(2, np.float32), 1])[0], 1)
        with pytest.raises(ValueError) as caught:
            program([np.zeros(2, np.float32), 4])
        assert str(caught.value) == HOSTILE


def texts(x: Tensor, s: str) -> Tensor:
    known = {"x\"'\n    PWNED()\r    PWNED()\n#\"\"\"'''\\": 1.0, "b": 2.0}
    if s == "x\"'\n    PWNED()\r    PWNED()\n#\"\"\"'''\\":
        return x + known[s]
    if s.startswith('"""\n    PWNED()'):
        raise KeyError("x\"'\n    PWNED()\r    PWNED()\n#\"\"\"'''\\")
    return x


def test_hostile_texts_in_scripts() -> None:
    scripted = jit.script(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        assert scripted(ingot.ones(2), HOSTILE).tolist() == [2, 2]
    for specialisation in scripted.specialisations:
        if specialisation.fallback is None:
            check(specialisation.source())
