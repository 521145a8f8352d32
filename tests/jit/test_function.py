"""Compiled callables: which graph a call gets, what runs it, and what comes back, whoever made the graph."""

import dataclasses
import threading
import warnings
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import GRAPH, KITCHEN_GRAPH, add_square, kitchen
from ingot import ir
from ingot.eager import modes
from ingot.eager.tensor import Tensor, wrap
from ingot.ir.builder import Builder
from ingot.ir.records import replace
from ingot.jit.codegen.compile import no_compile
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.errors import CompileError, FallbackWarning, JitError, Unsupported
from ingot.jit.executors import executor
from ingot.jit.function import Call, CompiledFunction, Specialised
from ingot.jit.specialisation import Specialisation
from ingot.jit.tree import LEAF, Structure, constant_structure, flatten, map_leaves, tuple_structure, unflatten


def vector(*values: float) -> Tensor:
    return wrap(np.array(values, np.float32))


class FromText(CompiledFunction):
    """A compiled callable whose graphs are written down."""

    def __init__(self, *texts: str, results: Structure = LEAF) -> None:
        super().__init__("from_text")
        self.texts = list(texts)
        self.results_structure = results
        self.parameters: dict[str, Tensor] = {}

    def specialise(self, call: Call) -> Specialised:
        if not self.texts:
            return super().specialise(call)
        return Specialised(ir.parse(self.texts.pop(0)), self.results_structure)

    def parameter(self, name: str) -> Tensor:
        return self.parameters[name]


@pytest.fixture(scope="module")
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("function") / "cache"


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch, cache_directory: Path) -> Iterator[dict[str, Any]]:
    """Code generation by name: graphs called add_square and kitchen have modules, all others none."""
    # The real generator's programs for the same graphs are in the shared cache.
    monkeypatch.setenv("INGOT_CACHE_DIR", str(cache_directory))
    modules = {"add_square": add_square, "kitchen": kitchen}

    def module(self: Specialisation) -> GeneratedModule:
        if self._module is None:
            if self.graph.name not in modules:
                raise Unsupported(f"{self.graph.name} has no native form")
            self._module = modules[self.graph.name]()
        return self._module

    monkeypatch.setattr(Specialisation, "module", module)
    yield modules


ADD = "graph @added(%x: f32[n], %y: f32[n]) -> (f32[n]) { %z: f32[n] = add(%x, %y) return(%z) }"


def test_a_call_runs_native_code_and_the_next_takes_the_short_way(by_hand: Any) -> None:
    function = FromText(GRAPH)
    x, y = vector(1, 2, 3), vector(2, 3, 4)
    first = function(x, y)
    assert type(first) is Tensor and first.tolist() == [5, 11, 19]
    assert len(function._known) == 1
    assert function(x, y).tolist() == [5, 11, 19]
    # another size: the same graph, another shortcut
    assert function(vector(1), vector(2)).tolist() == [5]
    assert len(function.specialisations) == 1 and len(function._known) == 2


def test_results_of_the_short_way_do_not_share_memory(by_hand: Any) -> None:
    function = FromText(GRAPH)
    x, y = vector(1, 2), vector(3, 4)
    results = [function(x, y) for _ in range(4)]
    for i, a in enumerate(results):
        assert a.tolist() == [10, 18]
        assert not any(np.shares_memory(a.numpy(), b.numpy()) for b in results[i + 1 :])


def test_sizes_that_break_a_condition_get_another_graph(by_hand: Any) -> None:
    broadcast = "graph @added(%x: f32[n], %y: f32[1]) -> (f32[n]) { %z: f32[n] = add(%x, %y) return(%z) }"
    function = FromText(ADD, broadcast)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        assert function(vector(1, 2), vector(3, 4)).tolist() == [4, 6]
        assert function(vector(1, 2), vector(3)).tolist() == [4, 5]
        assert function(vector(1, 2, 3), vector(1, 1, 1)).tolist() == [2, 3, 4]
    assert len(function.specialisations) == 2
    with pytest.raises(JitError, match="from_text has no graph for such arguments"):
        function(vector(1, 2, 3), vector(3, 4))


def test_a_graph_that_does_not_fit_its_own_call_is_an_error() -> None:
    function = FromText("graph @f(%x: f32[3]) -> (f32[3]) { return(%x) }")
    with pytest.raises(JitError, match="does not fit them: size 0 of x is 2, expected 3"):
        function(vector(1, 2))


def test_dtypes_ranks_and_python_types_select_graphs() -> None:
    def graph(kind: str) -> str:
        return f"graph @f(%x: {kind}) -> ({kind}) {{ return(%x) }}"

    function = FromText(
        graph("f32[n]"), graph("i64[n]"), graph("f32[n, m]"), graph("int"), graph("float"), graph("bool")
    )
    with executor("interpreter"):
        for value in (vector(1), wrap(np.array([1])), wrap(np.zeros((2, 2), np.float32)), 3, 2.5, True):
            result = function(value)
            assert result is value if isinstance(value, Tensor) else (result == value and type(result) is type(value))
    assert len(function.specialisations) == 6


def test_what_native_code_cannot_do_runs_in_the_interpreter_with_one_warning(by_hand: Any) -> None:
    function = FromText(ADD)
    with pytest.warns(
        FallbackWarning, match="from_text runs in the interpreter, because added has no native form"
    ) as w:
        assert function(vector(1), vector(2)).tolist() == [3]
    assert w[0].filename == __file__
    assert function(vector(1), vector(2)).tolist() == [3]  # no second warning, which would be an error
    assert "runs in the interpreter: added has no native form" in function.explain()


class TestWrites:
    def function(self, writes: list[tuple[int, int]], outputs: int, results: Structure = LEAF) -> CompiledFunction:
        graph = ir.parse(
            "graph @f(%x: f32[n]) -> (f32[n], f32[n]) {"
            " %0: f32[n] = add(%x, %x) %1: f32[n] = mul(%0, %0) return(%1, %0) }"
        )
        graph.writes, graph.outputs = writes, outputs

        class Writing(CompiledFunction):
            def specialise(self, call: Call) -> Specialised:
                return Specialised(graph, results)

        return Writing("writing")

    def test_a_result_that_is_only_written_back(self) -> None:
        x = vector(1, 2)
        version = x.version
        with executor("interpreter"):
            result = self.function([(0, 1)], 1)(x)
        assert result.tolist() == [4, 16] and x.tolist() == [2, 4]
        assert x.version > version

    def test_a_returned_result_that_is_written_back_is_the_argument(self) -> None:
        x = vector(1, 2)
        with executor("interpreter"):
            results = self.function([(0, 1)], 2, tuple_structure([LEAF, LEAF]))(x)
        assert results[1] is x and results[0].tolist() == [4, 16] and x.tolist() == [2, 4]

    def test_writes_go_through_views(self) -> None:
        base = wrap(np.arange(4, dtype=np.float32))
        with executor("interpreter"):
            self.function([(0, 1)], 1)(base[::2])
        assert base.tolist() == [0, 1, 4, 3]

    def test_native_writes_in_place(self, by_hand: Any) -> None:
        graph = ir.parse(KITCHEN_GRAPH)
        graph.writes = [(0, 0)]

        class Kitchen(CompiledFunction):
            def specialise(self, call: Call) -> Specialised:
                return Specialised(graph, tuple_structure([LEAF] * 4))

        x = vector(1, 2)
        version = x.version
        results = Kitchen("kitchen")(x, 3, 2.0, True)
        assert results[0] is x and x.tolist() == [2.5, 4.5] and x.version > version
        assert results[1].tolist() == [0, 1, 4]


class TestWithGradients:
    def test_no_grad_runs_compiled(self, by_hand: Any) -> None:
        function = FromText(GRAPH)
        x = vector(1, 2).requires_grad_()
        with modes.no_grad():
            z = function(x, vector(1, 1))
        assert not z.requires_grad and z.tolist() == [2, 3]
        assert function.specialisations[0].is_compiled


def test_parameters_are_read_at_every_call() -> None:
    function = FromText()
    builder = Builder("f")
    x = builder.argument("x", ir.TensorType(ir.dtypes.float32, (2,)))
    w = builder.argument("w", ir.TensorType(ir.dtypes.float32, (2,)))
    builder.return_([builder.emit("mul", x, w)])
    graph = builder.finish()
    graph.parameters = ("w",)
    function.specialise = lambda call: Specialised(graph, LEAF)  # type: ignore[method-assign]
    function.parameters["w"] = vector(2, 3)
    with executor("interpreter"):
        assert function(vector(1, 1)).tolist() == [2, 3]
        function.parameters["w"] = vector(5, 7)
        assert function(vector(1, 1)).tolist() == [5, 7]


def test_calls_under_a_mode_are_seen_op_by_op() -> None:
    class Watch(modes.Mode):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def dispatch(self, op: Any, operands: Any, attributes: Any) -> Any:
            from ingot.eager.dispatch import execute

            self.seen.append(op.name)
            return execute(op, operands, attributes)

    watch = Watch()
    with modes.use_mode(watch):
        assert FromText(GRAPH)(vector(1), vector(2)).tolist() == [5]
    assert watch.seen == ["mul", "add"]


def test_arguments_that_cannot_be_taken() -> None:
    function = FromText(ADD)
    with pytest.raises(TypeError, match=r"given a numpy array; pass ingot.from_numpy"):
        function(np.zeros(3), vector(1))
    with pytest.raises(OverflowError, match="does not fit into 64 bits"):
        function(1 << 70, 1)


def test_keyword_arguments_and_defaults() -> None:
    import inspect

    def original(x: Tensor, y: Tensor | None = None, *, scale: float = 2.0) -> None: ...

    function = FromText("graph @f(%x: f32[n], %s: float) -> (float) { return(%s) }")
    function._signature = inspect.signature(original)
    with executor("interpreter"):
        assert function(vector(1)) == 2.0
        assert function(x=vector(1), scale=5.0) == 5.0
        assert len(function.specialisations) == 1
        with pytest.raises(TypeError, match=r"from_text\(\) missing a required argument: 'x'"):
            function()


def test_before_the_first_call_there_is_nothing_to_show() -> None:
    function = FromText(ADD)
    with pytest.raises(JitError, match="from_text has no graph yet"):
        _ = function.graph
    assert "not called yet" in function.explain()
    assert function.graph_for(vector(1), vector(2)).name == "added"
    assert function.graph.name == "added"
    assert "not compiled yet" in function.explain()
    assert repr(function) == "<FromText from_text, 1 specialisation>"


def test_the_generated_source_is_one_module(by_hand: Any) -> None:
    function = FromText(GRAPH)
    function(vector(1), vector(2))
    source = function.kernel_source()
    assert source.index("def add_square(") < source.index("def drive_add_square(")
    compile(source, "kernels.py", "exec")
    assert "kernel add_square: mul, add" in function.explain()


def test_threads_make_one_specialisation(by_hand: Any) -> None:
    function = FromText(GRAPH)
    results: list[list[float]] = []
    threads = [
        threading.Thread(target=lambda: results.append(function(vector(1, 2), vector(2, 3)).tolist())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[5, 11]] * 8 and len(function.specialisations) == 1


class TestTree:
    Pair = namedtuple("Pair", "left right")

    @dataclasses.dataclass
    class Settings:
        scale: float
        name: str

    def test_containers_come_back_as_they_were(self) -> None:
        x = vector(1)
        value = ((x, 1), [2.0, None], {"k": self.Pair(True, "s")}, self.Settings(0.5, "n"))
        leaves, structure = flatten(value)
        assert leaves[0] is x and leaves[1:] == [1, 2.0, True, 0.5]
        assert unflatten(structure, leaves) == value
        assert structure.n_leaves == 5

    def test_equal_structures_are_equal_and_others_are_not(self) -> None:
        assert flatten((1, [2.0]))[1] == flatten((5, [7.0]))[1]
        different = [flatten(v)[1] for v in ((1, [2.0]), [1, [2.0]], (1, (2.0,)), (1, [2.0, 3]), (1, "a"), (1, None))]
        assert len(set(different)) == len(different)
        assert flatten({"a": 1})[1] != flatten({"b": 1})[1]

    def test_objects_are_constants_by_identity(self) -> None:
        a, b = {1, 2}, {1, 2}
        assert flatten(a)[1] == flatten(a)[1] != flatten(b)[1]
        assert unflatten(flatten(a)[1], []) is a

    def test_wrong_numbers_of_leaves(self) -> None:
        structure = flatten((1, 2))[1]
        for leaves in ([1], [1, 2, 3]):
            with pytest.raises(ValueError, match="a structure of 2 leaves was given"):
                unflatten(structure, leaves)

    def test_a_container_that_holds_itself_is_refused(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(ValueError, match="nested deeper"):
            flatten(loop)

    def test_json_round_trip(self) -> None:
        value = ((1, [2.0]), {"k": self.Pair(1, ir.dtypes.float32)}, None, "text", ())
        leaves, structure = flatten(value)
        again = Structure.from_json(structure.to_json())
        assert again == structure
        rebuilt = unflatten(again, leaves)
        assert rebuilt[1]["k"].left == 1 and rebuilt[1]["k"].right is ir.dtypes.float32

    @pytest.mark.parametrize(
        "data",
        [None, 3, "leaves", {}, {"kind": "tuple"}, {"constant": {"dtype": "no"}}, {"constant": {"eval": "1"}},
         {"kind": "record", "name": "a b", "keys": [], "children": []},
         {"kind": "record", "name": "A", "keys": ["x y"], "children": ["leaf"]},
         {"kind": "dict", "name": "", "keys": ["a", "b"], "children": ["leaf"]}],
    )  # fmt: skip
    def test_json_that_is_no_structure(self, data: Any) -> None:
        with pytest.raises((ValueError, TypeError)):
            Structure.from_json(data)

    def test_constants_that_cannot_be_saved(self) -> None:
        with pytest.raises(ValueError, match="a constant of type function cannot be saved"):
            constant_structure(flatten).to_json()

    def test_map_leaves(self) -> None:
        assert map_leaves(lambda v: v * 2, (1, [2.0, {"a": 3}])) == (2, [4.0, {"a": 6}])


def test_defaults_take_the_short_way_too(by_hand: Any) -> None:
    import inspect

    def original(x: Tensor, count: int = 2, scale: float = 2.0, flag: bool = True) -> None: ...

    class Kitchen(CompiledFunction):
        def specialise(self, call: Call) -> Specialised:
            return Specialised(ir.parse(KITCHEN_GRAPH), tuple_structure([LEAF] * 4))

    function = Kitchen("kitchen", inspect.signature(original))
    assert [function(vector(1))[1].tolist() for _ in range(3)] == [[0, 1]] * 3
    assert function(vector(1), 3)[1].tolist() == [0, 1, 4]


def test_numbers_that_are_constants_are_compared_exactly() -> None:
    same = [(0.0, 0.0), (float("nan"), float("nan")), (1, 1)]
    other = [(0.0, -0.0), (1, True), (1, 1.0), (2, 3)]
    assert all(constant_structure(a) == constant_structure(b) for a, b in same)
    assert not any(constant_structure(a) == constant_structure(b) for a, b in other)


@pytest.mark.parametrize("name", ["native", "python"])
def test_a_failure_of_code_generation_is_said_and_survived(
    by_hand: Any, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    if name == "native":
        source = "def drive_add_square(frame):\n    return missing_name\n"
        broken = replace(add_square(), driver_source=source, kernels=[])
    else:
        broken = replace(add_square(), driver_source="def drive_add_square(frame) return")
    by_hand["add_square"] = lambda: broken
    function = FromText(GRAPH)
    with executor(name), pytest.warns(FallbackWarning, match=r"code generation failed \(.*; please report it\)"):
        assert function(vector(1), vector(2)).tolist() == [5]
    with executor(name):
        assert function(vector(1), vector(3)).tolist() == [10]


def test_no_compile_is_an_error_and_no_reason_to_fall_back(
    by_hand: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    function = FromText(GRAPH)
    with no_compile(), pytest.raises(CompileError, match=r"from_text would have to be compiled"):
        function(vector(1), vector(2))
    assert function(vector(1), vector(2)).tolist() == [5]
    with no_compile():
        assert function(vector(1, 2), vector(2, 3)).tolist() == [5, 11]
