"""Graphs printed and read back: every construct, equality, errors with their places, and garbage."""

import random
import string
from pathlib import Path

import numpy as np
import pytest
from ingot import ir
from ingot.ir.dims import symbol
from ingot.ir.lexer import escape, unescape
from ingot.ir.printer import format_attribute, same_attribute

HEADER = """graph @f(%x: f32[n, 7], %c: bool, %t: int<k>) -> (f32[n, 7], f32[n, 7])""" + (
    """ where (n*4 == k*2 "why") writes (%x = 1) outputs 1 parameters ("fc.weight")"""
)
BODY = """ {
  %0: float = constant() {value=0.5}
  %1: f32[n, 7] = add(%x, %0)
  %2: f32[n, 7], %3: int = if(%c) {
    %a: int<3> = constant() {value=3}
    yield(%x, %a)
  } else {
    %b: int<4> = constant() {value=4}
    yield(%1, %b)
  }
  %4: f32[n, 7] = loop(%t, %c, %2) (%i: int, %y: f32[n, 7]) {
    %z: f32[n, 7] = exp(%y)
    yield(%c, %z)
  }
  return(%1, %4)
}"""
PROGRAM = HEADER + BODY


def test_a_program_prints_as_it_was_written() -> None:
    graph = ir.parse(PROGRAM)
    assert str(graph) == PROGRAM
    assert ir.parse(str(graph)) == graph
    assert graph.writes == [(0, 1)]
    assert graph.outputs == 1
    assert graph.parameters == ("fc.weight",)
    assert graph.guards[0].reason == "why"


@pytest.mark.parametrize(
    "value",
    [
        0, -1, 2**63 - 1, -(2**63), 1.0, -0.0, 1e-300, 5e-324, float("inf"), -float("inf"), float("nan"), 0.1, True,
        False, None, "", 'quote " and \\ back', "line\nbreak\ttab\r\x00\x7f", "é 漢 \u2028 \ud800 \U0001f600", (), (1,),
        (1, (2.5, None), "x"), ir.dtypes.float32, ir.dtypes.bool_, symbol("n") * 4 - 1, ir.IntType(symbol("n")),
        ir.BoolType(), ir.TensorType(ir.dtypes.int64, (symbol("n"), 3), "cuda:1"), ir.NoneType(),
        ir.DictType(ir.StrType(), ir.OptionalType(ir.ListType(ir.TupleType((ir.FloatType(), ir.IntType()))))),
        ir.TupleType(()), ir.RecordType("a.b.Point", (("x", ir.IntType()), ("y", ir.ComplexType()))),
        ir.RecordType("f.<locals>.Q", ()), slice(1, None, -2), (..., slice(None, None, None), 3), 1.5 - 2j,
        complex("nan"), (slice(symbol("n"), 2, None),),
    ],
    ids=repr,
)  # fmt: skip
def test_attribute_values_round_trip(value: object) -> None:
    graph = ir.Graph("f")
    instruction = ir.Instruction(ir.get_op("constant"), [], {"value": value}, (ir.NoneType(),))
    graph.block.append(instruction)
    graph.block.append(ir.Instruction(ir.get_op("return"), [], {}, ()))
    read = ir.parse(str(graph), check=False).block.instructions[0].attributes["value"]
    assert str(read) == str(value) if isinstance(value, complex) else same_attribute(read, value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.0, 0.1, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-45], np.float32),
        np.array([0x7FC00001, 0xFFC00000, 0x7F800001], np.uint32).view(np.float32),
        np.array([[0.1, 2.0**-1074], [1 / 3, 1e308]]),
        np.array([0.1, 65504.0, 6e-8], np.float16),
        np.array([True, False]),
        np.array([-(2**63), 2**63 - 1]),
        np.array([0, 255], np.uint8),
        np.array([1 + 2j, complex(-0.0, np.nan)], np.complex64),
        np.float64(3.0).reshape(()),
        np.zeros((0, 3), np.float32),
        np.arange(12.0)[::2],
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_small_arrays_round_trip_to_the_bit(array: np.ndarray) -> None:
    builder = ir.Builder("f")
    builder.return_([builder.constant(ir.Array(array, 'the "name"'))])
    graph = builder.finish()
    read = ir.parse(str(graph))
    constant = read.block.instructions[0].attributes["value"]
    assert constant.require().tobytes() == array.tobytes()
    assert constant.name == 'the "name"'
    assert read == graph


def _weight_graph() -> tuple[ir.Graph, np.ndarray]:
    array = np.arange(100, dtype=np.float32).reshape(20, 5)
    builder = ir.Builder("f")
    builder.return_([builder.constant(ir.Array(array, "fc.weight"))])
    return builder.finish(), array


def test_large_arrays_are_referred_to_by_name_and_digest() -> None:
    graph, array = _weight_graph()
    text = str(graph)
    assert 'weight<f32[20, 5] "fc.weight" sha256:' in text
    without = ir.parse(text)
    assert without == graph
    with pytest.raises(ValueError, match="parse\\(text, weights="):
        ir.run(without, [])
    read = ir.parse(text, {"fc.weight": array})
    assert read.block.instructions[0].attributes["value"].data is array
    assert ir.run(read, [])[0] is array
    assert ir.parse(text, {"fc.weight": ir.Array(array)}) == graph


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "not among those given"),
        ({"fc.weight": np.zeros((20, 5), np.float32)}, "digest"),
        ({"fc.weight": np.arange(100, dtype=np.float32)}, r"float32\[100\]"),
        ({"fc.weight": np.arange(100.0).reshape(20, 5)}, "float64"),
    ],
)
def test_wrong_weights_are_refused(weights: dict, message: str) -> None:
    with pytest.raises(ir.ParseError, match=message):
        ir.parse(str(_weight_graph()[0]), weights)


def test_defaults_are_not_printed_and_come_back() -> None:
    text = "graph @f(%x: f32[n, 3]) -> (f32[n, 3]) {\n  %0: f32[n, 3] = gelu(%x)\n  return(%0)\n}"
    graph = ir.parse(text)
    assert graph.block.instructions[0].attributes == {"approximate": "none"}
    assert str(graph) == text


def test_locations_travel_with_their_source_lines() -> None:
    graph = ir.parse(PROGRAM)
    place = ir.Location("model.py", 12, 4, 9, "<lambda>", "    y = x + 0.5")
    graph.block.instructions[1].location = place
    graph.block.instructions[2].location = ir.Location("other file.py", 3, 0, None, "Net.forward")
    text = ir.print_graph(graph, locations=True)
    assert 'loc("model.py":12:4-9 in "<lambda>")' in text
    assert '} loc("other file.py":3:0 in Net.forward)' in text
    read = ir.parse(text)
    assert read.block.instructions[1].location == place
    assert read.block.instructions[2].location == graph.block.instructions[2].location
    assert ir.print_graph(read, locations=True) == text
    assert read == graph


def test_names_are_kept_and_made_unique() -> None:
    builder = ir.Builder("f")
    type = ir.TensorType(ir.dtypes.float32, (3,))
    x, y, z = builder.argument("x", type), builder.argument("x", type), builder.argument("odd name", type)
    w = builder.argument("x.1", type)
    a, b = builder.emit("add", x, y), builder.emit("add", z, w)
    a.name, b.name = "7", "x"
    builder.return_([a, b])
    text = str(builder.finish())
    read = ir.parse(text)
    assert read == builder.graph
    assert str(read) == text
    assert [v.name for v in read.arguments][0::2] == ["x", "odd name"]
    assert len({v.name for v in read.arguments}) == 4


def test_equality_ignores_names_of_values_and_symbols() -> None:
    text = "graph @f(%x: f32[b, a*2], %y: f32[a]) -> (f32[b, a*2]) { %z: f32[b, a*2] = exp(%x) return(%z) }"
    renamed = text.replace("%x", "%q").replace("b", "zz").replace("%z", "%5").replace("@f", "@f")
    assert ir.parse(text) == ir.parse(renamed)
    swapped = text.replace("b", "T").replace("a", "b").replace("T", "a").replace("grbph", "graph")
    assert ir.parse(text) == ir.parse(swapped.replace("f32[b]", "f32[b]"))
    assert ir.parse(text) != ir.parse(text.replace("exp", "tanh"))
    assert ir.parse(text) != ir.parse(text.replace("a*2", "a*3"))
    assert ir.parse(text) != ir.parse(text.replace("@f(", "@g("))
    assert ir.parse(text) != text


def test_one_symbol_is_not_two() -> None:
    one = ir.parse("graph @f(%x: f32[n], %y: f32[n]) -> (f32[n]) { return(%x) }")
    two = ir.parse("graph @f(%x: f32[n], %y: f32[m]) -> (f32[n]) { return(%x) }")
    assert one != two


@pytest.mark.parametrize(
    ("body", "message", "place"),
    [
        ("%1: f32[n] = exq(%x) return(%1)", "no op named 'exq'; did you mean", "exq"),
        ("%1: f32[n] = exp(%z) return(%1)", "the value %z is not defined", "%z"),
        ("%1: f32[n] = exp(%1) return(%1)", "the value %1 is not in scope|not defined", "%1"),
        ("%1: f32[n] = exp(%x) %1: f32[n] = exp(%x) return(%1)", "%1 is defined twice", "%1"),
        ("%1: f32[m] = exp(%x) return(%1)", r"declared f32\[m\], inferred f32\[n\]", "exp"),
        ("%1: f64[n] = exp(%x) return(%1)", r"declared f64\[n\], inferred f32\[n\]", "exp"),
        ("%1: f32[n], %2: f32[n] = exp(%x) return(%1)", "inferred f32", "exp"),
        ("%1: f32[n] = exp(%x, %x) return(%1)", "expected 1 operands, given 2", "exp"),
        ("%1: f32[n] = exp(_) return(%1)", "may not be absent", "exp"),
        ("%1: f32[n] = exp(%x)", "does not end in return", "}"),
        ("yield(%x)", "must end in return", "yield"),
        ("return(%x) return(%x)", "after the end", "return"),
        ("%1: f32[n] = gelu(%x) {approximat=\"tanh\"} return(%1)", "no attribute 'approximat'", "approximat"),
        ("%1: f32[n] = gelu(%x) {approximate=3} return(%1)", "must be str, given 3", "gelu"),
        ("%1: f32[n] = gelu(%x) {approximate=\"z\"} return(%1)", "approximate must be", "gelu"),
        ("%1: f32[n] = cast(%x) return(%1)", "'dtype' is missing", ")"),
        ("%1: f32[-3] = exp(%x) return(%1)", "negative size", "f32"),
        ("%1: f33[n] = exp(%x) return(%1)", "no type 'f33'", "f33"),
        ("%1: f32 = exp(%x) return(%1)", "no type 'f32'", "f32"),
        ("%1: f32[99999999999999999999] = exp(%x) return(%1)", "64 bits", "9999"),
        ("%1: f32[9999999999, 9999999999] = exp(%x) return(%1)", "too large", "f32"),
        ("%1: int = constant() {value=99999999999999999999999} return(%1)", "integer is not in", "9999"),
        ("%1: f32[2] = constant() {value=dense<f32[2]: 1.0>} return(%1)", "1 elements", "dense"),
        ("%1: u8[1] = constant() {value=dense<u8[1]: 256>} return(%1)", "elements for u8", "dense"),
        ("%1: str = constant() {value=\"abc} return(%1)", "string without its end", '"abc'),
        ("%1: str = constant() {value=\"\\q\"} return(%1)", "unknown escape", '"'),
        ("$", "unexpected '\\$'", "$"),
    ],
)  # fmt: skip
def test_errors_show_their_place(body: str, message: str, place: str) -> None:
    text = f"graph @f(%x: f32[n]) -> (f32[n]) {{\n  {body}\n}}"
    with pytest.raises(ir.ParseError, match=message) as caught:
        ir.parse(text, file="g.ir")
    location = caught.value.location
    assert location is not None and location.source is not None
    assert location.file == "g.ir"
    assert location.source[location.column :].startswith(place)
    assert "^" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'graph'"),
        ("graph", "expected '@'"),
        ("graph @f(%x: f32[n]) -> (f32[m]) { return(%x) }", r"declared to return \(f32\[m\]\)"),
        ("graph @f(%x: f32[n*2]) -> (f32[n*2]) { return(%x) }", "the size n"),
        ("graph @f(%x: f32[n]) -> (f32[n]) where (m == 2) { return(%x) }", "has the size m"),
        ("graph @f(%x: f32[n]) -> (f32[n]) writes (%y = 0) { return(%x) }", "not defined"),
        ("graph @f(%x: f32[n]) -> (f32[n]) writes (%x = 4) { return(%x) }", "no such pair"),
        ("graph @f(%x: f32[n]) -> (f32[n]) outputs 7 { return(%x) }", "7 outputs"),
        ("graph @f(%x: f32[n]) -> (f32[n]) { return(%x) } graph", "expected the end"),
        ("graph @f(%x: " + "List[" * 60 + "int" + "]" * 60 + ") -> () { return() }", "nested deeper"),
        ("graph @f(%x: f32[" + "(" * 60 + "n" + ")" * 60 + "]) -> () { return() }", "nested deeper"),
        ("graph @f(%x: f32[(a+b+c+d)*" + "*".join(["(a+b+c+d)"] * 30) + "]) -> () { return() }", "too complex"),
        (
            "graph @f(%c: bool) -> () {" + "if(%c) {" * 300 + "yield()" + "} else { yield() } yield()" * 300 + "}",
            "regions are nested deeper",
        ),
    ],
)
def test_refused_texts(text: str, message: str) -> None:
    with pytest.raises(ir.ParseError, match=message):
        ir.parse(text)


def test_values_of_a_region_stay_inside() -> None:
    text = (
        "graph @f(%c: bool, %x: f32[n]) -> (f32[n]) {\n"
        "  %r: f32[n] = if(%c) { %a: f32[n] = exp(%x) yield(%a) } else { yield(%x) }\n  return(%a)\n}"
    )
    with pytest.raises(ir.ParseError, match="%a is not in scope here"):
        ir.parse(text)


def test_garbage_raises_only_parse_errors() -> None:
    source = random.Random(7)
    words = [*PROGRAM.split(), "dense<f32[2]: 1 2>", "%x", "-", "(", "{", "}", "0x1", "slice", "type<", "int<n>", "..."]
    pieces = [PROGRAM[i : i + 9] for i in range(0, len(PROGRAM), 9)]
    accepted = 0
    for case in range(1500):
        text = PROGRAM
        for _ in range(source.randint(1, 4)):
            at = source.randrange(len(text) + 1)
            match case % 5:
                case 0:
                    text = text[:at] + text[at + source.randint(1, 6) :]
                case 1:
                    text = text[:at] + source.choice(string.printable) + text[at:]
                case 2:
                    text = text[:at] + " " + source.choice(words) + " " + text[at:]
                case 3:
                    text = text[:at] + source.choice(pieces) + text[at + 9 :]
                case _:
                    text = text[:at]
        try:
            graph = ir.parse(text)
        except ir.ParseError:
            continue
        accepted += 1
        assert ir.parse(str(graph)) == graph
    assert 0 < accepted < 750


def test_random_characters_raise_parse_errors() -> None:
    source = random.Random(8)
    for _ in range(500):
        text = "".join(source.choice('%@gf32[](){}<>=,:"\\ \n.-0ax\x00é') for _ in range(source.randint(0, 60)))
        with pytest.raises(ir.ParseError):
            ir.parse(text)


def test_strings_escape_on_one_line() -> None:
    source = random.Random(9)
    for _ in range(300):
        text = "".join(chr(source.choice([10, 34, 92, 9, 0, 233, 0xD800, 0x1F600, 65])) for _ in range(8))
        assert "\n" not in escape(text)
        assert unescape(escape(text)) == text


def test_thousands_of_instructions() -> None:
    lines = [f"  %y{i + 1}: f32[n] = add(%y{i}, %y0)" for i in range(3000)]
    text = "\n".join(["graph @f(%y0: f32[n]) -> (f32[n]) {", *lines, "  return(%y3000)", "}"])
    assert str(ir.parse(text)) == text


def test_attributes_without_a_text_form_are_refused() -> None:
    with pytest.raises(TypeError, match="no text form"):
        format_attribute(object())


def test_types_longer_than_what_is_remembered_are_told_apart() -> None:
    sizes = " + ".join(f"a{i}" for i in range(30))
    arguments = ", ".join(f"%a{i}: int<a{i}>" for i in range(30))
    text = f"graph @f({arguments}, %x: f32[{sizes}, 2], %y: f32[{sizes}, 3]) -> (f32[{sizes}, 3]) {{ return(%y) }}"
    graph = ir.parse(text)
    assert [a.type.shape[1] for a in graph.arguments[-2:]] == [2, 3]  # type: ignore[attr-defined]


def test_the_example_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ir.md").read_text()
    text = page.split("```\n")[1]
    assert str(ir.parse(text)) == text.strip()
