"""`ingot.runtime`: models run from their machine code with numpy and llvmlite only, and safely without it."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ingot
import numpy as np
import pytest
from ingot import jit, nn, runtime
from ingot.jit.errors import FallbackWarning, LoadError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("calls", ingot.zeros(1))

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.fc(x).relu() + self.calls


class Point(NamedTuple):
    x: ingot.Tensor
    y: ingot.Tensor


def swap(point: Point, factor: float = 2.0) -> dict[str, Any]:
    return {"swapped": Point(point.y, point.x * factor), "n": 3, "name": "swap"}


def add_one(x: ingot.Tensor) -> ingot.Tensor:
    x += 1
    return x


def count(n: int, start: float) -> float:
    total = start
    for i in range(n):
        if i == 7:
            raise IndexError("seven")
        total += i
    return total


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("models")
    ingot.manual_seed(0)
    ones = ingot.ones(2)
    made = {
        "net": jit.trace(Net().eval(), ingot.ones(2, 4)),
        "swap": jit.trace(swap, (Point(ones, ones),)),
        "add_one": jit.trace(add_one, (ones,)),
        "count": jit.script(count),
    }
    made["count"].graph_for(1, 1.0)
    for name, function in made.items():
        function.save(folder / f"{name}.ingot", metadata={"of": name})
    return lambda name: folder / f"{name}.ingot"


def test_arrays_in_arrays_out(files: Callable[[str], Path]) -> None:
    model = runtime.load(files("net"))
    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    result = model(x)
    assert type(result) is np.ndarray and model.is_native and model.metadata == {"of": "net"}
    expected = jit.load(files("net"))(ingot.from_numpy(x)).detach().numpy()
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(model(x=x[:0]), expected[:0])
    np.testing.assert_array_equal(model(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(model(x.astype(">f4")), expected)


def test_calls_like_an_earlier_one(files: Callable[[str], Path]) -> None:
    model = runtime.load(files("net"))
    for n in (2, 3, 2, 3, 0, 2):
        x = np.full((n, 4), n, np.float32)
        result = model(x)
        np.testing.assert_array_equal(result, model(x=x))
        strided = np.full((n, 8), n, np.float32)[:, ::2]
        np.testing.assert_array_equal(model(strided), result)
    with pytest.raises(TypeError):
        model(np.full((2, 4), 2, np.float64))
    counted = runtime.load(files("count"))
    assert [counted(n, 0.0) for n in (1, 2, 3, 3)] == [0, 1, 3, 3]
    for _ in range(2):
        with pytest.raises(OverflowError):
            counted(1 << 63, 1.0)
    written = runtime.load(files("add_one"))
    x = np.zeros(2, np.float32)
    assert [written(x) is x for _ in range(3)] == [True] * 3 and x.tolist() == [3, 3]


def test_tensors_in_tensors_out(files: Callable[[str], Path]) -> None:
    x = ingot.ones(2, 4)
    result = runtime.load(files("net"))(x)
    assert isinstance(result, ingot.Tensor)
    np.testing.assert_array_equal(result.numpy(), runtime.load(files("net"))(x.numpy()))


def test_structures_and_defaults(files: Callable[[str], Path]) -> None:
    model = runtime.load(files("swap"))
    result = model(Point(np.array([1, 2], np.float32), np.array([3, 4], np.float32)))  # type: ignore[arg-type]
    assert result["n"] == 3 and result["name"] == "swap" and type(result["swapped"]).__name__ == "Point"
    assert result["swapped"].x.tolist() == [3, 4] and result["swapped"].y.tolist() == [2, 4]
    with pytest.raises(TypeError, match="no program for"):  # a trace holds for its numbers only
        model(Point(np.ones(2, np.float32), np.ones(2, np.float32)), 3.0)  # type: ignore[arg-type]
    loaded = jit.load(files("swap"))
    assert loaded(Point(ingot.ones(2), ingot.zeros(2)), 2.0)["swapped"].y.tolist() == [2, 2]
    with pytest.raises(jit.JitError):
        loaded(Point(ingot.ones(2), ingot.zeros(2)), 3.0)


def test_arguments_that_are_written(files: Callable[[str], Path]) -> None:
    x = np.zeros(3, np.float32)
    result = runtime.load(files("add_one"))(x)
    assert x.tolist() == [1, 1, 1] and result is x
    y = np.zeros(6, np.float32)[::2]
    runtime.load(files("add_one"))(y)
    assert y.tolist() == [1, 1, 1]


def test_numbers_and_errors_of_the_program(files: Callable[[str], Path]) -> None:
    model = runtime.load(files("count"))
    assert model(4, 0.5) == 6.5 and model(np.int64(4), np.float32(0.5)) == 6.5
    with pytest.raises(IndexError, match="seven"):
        model(8, 0.0)
    with pytest.raises(TypeError, match=r"no program for \(int, int\)"):
        model(4, 1)
    with pytest.raises(TypeError, match="missing a required argument: 'start'"):
        model(4)
    with pytest.raises(OverflowError):
        model(1 << 63, 1.0)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones((2, 5), np.float32), RuntimeError, "size 1 of x is 5, expected 4"),
        (np.ones((2, 4)), TypeError, r"no program for \(float64\[2, 4\]\)"),
        (np.ones(4, np.float32), TypeError, "no program for"),
        ([1.0], TypeError, "no program for"),
        ("text", TypeError, "no program for"),
    ],
)
def test_arguments_that_do_not_fit(files: Callable[[str], Path], value: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        runtime.load(files("net"))(value)


def test_calls_from_many_threads(files: Callable[[str], Path]) -> None:
    model = runtime.load(files("net"))
    inputs = [np.full((n, 4), n, np.float32) for n in range(1, 9)]
    expected = [model(x) for x in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(50):
            if not np.array_equal(model(inputs[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_weights_are_mapped_not_read(files: Callable[[str], Path]) -> None:
    (variant,) = runtime.load(files("net"))._variants
    assert variant.parameters and all(not p.flags.owndata for p in variant.parameters)


CHILD = """
import sys
sys.modules["numba"] = None  # importing it fails
import numpy as np
from ingot import runtime
model = runtime.load(sys.argv[1])
result = model(np.ones((2, 4), np.float32))
heavy = [m for m in sys.modules if m.startswith(("ingot.eager", "ingot.nn", "ingot.jit.script", "ingot.jit.trace"))]
third = {m.split(".")[0] for m in sys.modules} - set(sys.stdlib_module_names) - {"numpy", "llvmlite", "ingot", "numba"}
print(result.tolist(), model.is_native, heavy, [m for m in third if not m.startswith("_")])
"""


def test_numpy_and_llvmlite_are_all_it_imports(files: Callable[[str], Path]) -> None:
    command = [sys.executable, "-c", CHILD, str(files("net"))]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    expected = runtime.load(files("net"))(np.ones((2, 4), np.float32))
    assert child.stderr == "" and child.stdout == f"{expected.tolist()} True [] []\n"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another user, who has no key that signed anything here."""
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.usefixtures("foreign")
class TestCodeOfOthers:
    def test_it_is_compiled_again(self, files: Callable[[str], Path]) -> None:
        model = runtime.load(files("add_one"))
        assert not model.is_native and model.signatures == ["(x: f32[s0])"]
        x = np.zeros(2, np.float32)
        result = model(x)
        assert type(result) is np.ndarray and result.tolist() == [1, 1] and x.tolist() == [1, 1]

    def test_it_runs_where_it_is_trusted(self, files: Callable[[str], Path]) -> None:
        model = runtime.load(files("add_one"), trust=True)
        assert model.is_native and model(np.zeros(2, np.float32)).tolist() == [1, 1]

    def test_without_a_compiler_it_is_interpreted(
        self, files: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runtime.loading.importlib.util, "find_spec", lambda name: None)
        with pytest.warns(FallbackWarning, match="Numba, which compiles it, is not installed"):
            model = runtime.load(files("count"))
        assert model(4, 0.5) == 6.5


def changed(path: Path, target: Path, **parts: Callable[[Any], Any]) -> Path:
    """A copy of a file with JSON parts changed, and checksums that fit."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            data = source.read(name)
            for suffix, change in parts.items():
                if name.endswith(suffix.replace("_json", ".json")):
                    value = json.loads(data)
                    data = json.dumps(change(value) or value).encode()
            copy.writestr(name, data)
    return target


class TestDescriptionsThatDoNotFitTheCode:
    """`ingot.json` is not signed: it must not lead signed code to arguments of other types."""

    @pytest.mark.parametrize(
        "leaves", [[["f8", 2]], [["f4", 3]], ["int"], [], [["f4", 2], ["f4", 2]], [["c8", 2]], "f4", [None]]
    )
    def test_arguments(self, files: Callable[[str], Path], tmp_path: Path, leaves: Any) -> None:
        def change(value: Any) -> None:
            value["specialisations"][0]["leaves"] = leaves

        with pytest.raises(LoadError, match=r"^ingot\.json: "):
            runtime.load(changed(files("net"), tmp_path / "x", ingot_json=change))

    def test_results(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        def change(value: Any) -> None:
            value["specialisations"][0]["results"] = {
                "kind": "tuple", "name": "", "keys": [], "children": ["leaf", "leaf"]
            }  # fmt: skip

        with pytest.raises(LoadError, match=r"^ingot\.json: "):
            runtime.load(changed(files("net"), tmp_path / "x", ingot_json=change))

    def test_signed_parts_that_were_changed_are_not_used(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        def change(value: Any) -> None:
            if "program" in value:
                value["program"]["layout"]["scratch_slots"] += 1

        assert not runtime.load(changed(files("count"), tmp_path / "x", _json=change)).is_native

    def test_other_targets_are_not_for_this_machine(self, files: Callable[[str], Path], tmp_path: Path) -> None:
        def change(value: Any) -> None:
            if "features" in value:
                value["features"] = "+flying"

        path = changed(files("count"), tmp_path / "x", _json=change)
        assert not runtime.load(path, trust=True).is_native


def tally(words: list[str], known: dict[str, int], prefix: str = "") -> dict[str, int]:
    for word in words:
        known[prefix + word] = known.get(prefix + word, 0) + 1
    return known


def test_strings_and_containers(tmp_path: Path) -> None:
    scripted = jit.script(tally)
    scripted(["a"], {"b": 1})
    scripted.save(tmp_path / "tally.ingot")
    for load in (jit.load, runtime.load):
        model = load(tmp_path / "tally.ingot")
        known = {"a": 1}
        assert model(["a", "c", "a"], known) == {"a": 3, "c": 1}
        assert known == {"a": 3, "c": 1}
    assert runtime.load(tmp_path / "tally.ingot").is_native
