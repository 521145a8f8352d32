"""Structures that refer to objects of the arguments: taken apart, put together, changed, saved, and damaged ones."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from ingot.ir.lexer import ParseError
from ingot.ir.types import FloatType, IntType, ListType, RecordType
from ingot.jit.argument_objects import is_plain_instance, resolve
from ingot.jit.structure import LEAF, Structure, constant_structure, unflatten
from ingot.jit.tree import flatten_call


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Owner:
    def __init__(self, point: Point) -> None:
        self.point = point
        self.label = "a"


class Tricky:
    def __getattr__(self, name: str) -> int:
        return 1


def test_an_object_that_is_met_again_is_a_reference() -> None:
    p = Point(1.0, 2.0)
    leaves, structure = flatten_call((p, [p], Owner(p)), {"named": p}, objects=True)
    assert leaves == [1.0, 2.0]
    positional, named = structure.children
    assert [c.kind for c in positional.children] == ["record", "list", "object"]
    assert positional.children[1].children[0] == Structure("argument", keys=(0, 0))
    assert named.children[0] == Structure("argument", keys=(0, 0))
    separate = flatten_call((p, [Point(1.0, 2.0)]), {}, objects=True)[1]
    assert separate.children[0].children[1] != positional.children[1]


def test_what_is_taken_apart() -> None:
    assert is_plain_instance(Owner(Point(1.0)))
    assert not any(map(is_plain_instance, (Tricky(), 1, "a", len, SimpleNamespace(a=1), ValueError("x"), Point)))


def test_updates_reach_the_callers_objects() -> None:
    owner = Owner(Point(1.0))
    items: list[Any] = [1, 2]
    arguments = ((owner, items), {})
    change = Structure("object", (LEAF,), ("x",), "Point")
    contents = Structure("list", (Structure("argument", keys=(0, 0)), LEAF))
    returned = Structure("tuple", (Structure("argument", keys=(0, 0, "point")), Structure("argument", keys=(0, 1))))
    structure = Structure("updates", (change, contents, returned), ((0, 0, "point"), (0, 1)))
    again = Structure.from_json(structure.to_json())
    assert again == structure
    point, same = unflatten(again, [5.0, 7], arguments)
    assert point is owner.point and owner.point.x == 5.0
    assert same is items and items == [owner, 7]


def test_objects_of_run_time_keep_their_identity() -> None:
    type = ListType(ListType(RecordType("&Point", (("x", FloatType()), ("y", FloatType())))))
    structure = Structure("objects", value=type, cls={"&Point": Point})
    one, other = [(1.0, 2.0)], [(1.0, 2.0)]
    found = unflatten(Structure("tuple", (structure, structure)), [[one, other, one], [other]])
    assert found[0] == [Point(1.0, 2.0)] * 3
    assert found[0][0] is found[0][2] and found[0][0] is not found[0][1] and found[1][0] is found[0][1]
    loaded = unflatten(Structure.from_json(structure.to_json()), [[one]])
    assert (type_name := loaded[0].__class__.__name__) == "Point" and vars(loaded[0]) == {"x": 1.0, "y": 2.0}, type_name
    assert structure.n_leaves == 1 and IntType() != FloatType()


@pytest.mark.parametrize(
    "path", [(0, 5), (0, 0, "missing"), (0, 0, "__class__"), (0, 0, "point", "__dict__"), (2,), (0, 0, 3), ("a",)]
)
def test_paths_that_lead_nowhere(path: Any) -> None:
    with pytest.raises(ValueError, match="no object at"):
        resolve(path, ((Owner(Point(1.0)),), {}))


@pytest.mark.parametrize(
    "structure",
    [
        Structure("again", keys=(3,)),
        Structure("updates", (Structure("object", (LEAF,), ("x",)), constant_structure(None)), ((0, 1),)),
        Structure("updates", (Structure("dict", (LEAF,), ("x",)), constant_structure(None)), ((0, 0),)),
    ],
)
def test_damaged_structures_are_refused(structure: Structure) -> None:
    with pytest.raises(ValueError, match=r"not in it|no object at|where the caller has"):
        unflatten(structure, [1.0] * structure.n_leaves, ((Owner(Point(1.0)),), {}))


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "again", "name": "", "keys": ["x"], "children": []},
        {"kind": "again", "name": "", "keys": [], "children": []},
        {"kind": "argument", "name": "", "keys": ["x"], "children": ["leaf"]},
        {"kind": "updates", "name": "", "keys": ["x"], "children": ["leaf", "leaf"]},
        {"kind": "updates", "name": "", "keys": [], "children": ["leaf", "leaf"]},
        {"kind": "object", "name": "P", "keys": ["__class__"], "children": ["leaf"]},
        {"kind": "object", "name": "a b", "keys": ["x"], "children": ["leaf"]},
        {"objects": "no type"},
        {"kind": "tuple", "name": "", "keys": [],
         "children": [{"kind": "updates", "name": "", "keys": [], "children": ["leaf"]}]},
    ],
)  # fmt: skip
def test_structures_that_are_none(data: Any) -> None:
    with pytest.raises((ValueError, ParseError)):
        Structure.from_json(data)
