"""Ingots: what is saved comes back, damage is found and named, and nothing runs that was not signed or trusted."""

import inspect
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import GRAPH, add_square
from ingot import ir
from ingot.eager.tensor import Tensor, wrap
from ingot.ir.core import Array
from ingot.ir.safetensors import SafetensorsError, read_safetensors, write_safetensors
from ingot.jit.archive import LoadedFunction, load, save
from ingot.jit.codegen.compile import no_compile
from ingot.jit.codegen.module import GeneratedModule
from ingot.jit.errors import FallbackWarning, JitError, LoadError, Unsupported
from ingot.jit.executors import executor
from ingot.jit.function import Call, CompiledFunction, Specialised
from ingot.jit.signing import is_signed_by_us, sign
from ingot.jit.specialisation import Specialisation
from ingot.jit.tree import LEAF, Structure

WEIGHT = np.arange(48, dtype=np.float32).reshape(3, 16)


def tensor(*values: float) -> Tensor:
    return wrap(np.array(values, np.float32))


class FromGraph(CompiledFunction):
    def __init__(self, graph: ir.Graph, results: Structure = LEAF, **parameters: Tensor) -> None:
        super().__init__(graph.name)
        self.made = Specialised(graph, results)
        self.parameters = parameters

    def specialise(self, call: Call) -> Specialised:
        return self.made

    def parameter(self, name: str) -> Tensor:
        return self.parameters[name]


def weighted() -> FromGraph:
    """x * constant + w: a large constant and a parameter."""
    builder = ir.Builder("weighted")
    kind = ir.TensorType(ir.dtypes.float32, (3, 16))
    x, w = builder.argument("x", kind), builder.argument("w", kind)
    constant = builder.constant(Array(WEIGHT, "fc.weight"))
    builder.return_([builder.emit("add", builder.emit("mul", x, constant), w)])
    graph = builder.finish()
    graph.parameters = ("w",)
    function = FromGraph(graph, w=wrap(np.full((3, 16), 0.5, np.float32)))
    function._signature = inspect.Signature([inspect.Parameter("x", inspect.Parameter.POSITIONAL_OR_KEYWORD)])
    return function


@pytest.fixture(scope="module")
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive") / "cache"


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch, cache_directory: Path) -> None:
    """Code generation for add_square only, and a cache directory of this file's own."""

    def module(self: Specialisation) -> GeneratedModule:
        if self.graph.name != "add_square":
            raise Unsupported(f"{self.graph.name} has no native form")
        self._module = add_square()
        return self._module

    monkeypatch.setattr(Specialisation, "module", module)
    monkeypatch.setenv("INGOT_CACHE_DIR", str(cache_directory))


@pytest.fixture
def square_file(tmp_path: Path) -> Path:
    function = FromGraph(ir.parse(GRAPH))
    function(tensor(1), tensor(2))
    path = tmp_path / "square.ingot"
    save(function, path, {"notes.txt": "hello", "data/raw.bin": b"\x00\x01"}, metadata={"author": "me"})
    return path


@pytest.fixture
def weighted_file(tmp_path: Path) -> Path:
    function = weighted()
    function.graph_for(wrap(WEIGHT))
    path = tmp_path / "weighted.ingot"
    save(function, path, native=False)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive_file:
        return {name: archive_file.read(name) for name in archive_file.namelist()}


def rewrite(path: Path, **changes: bytes | None) -> Path:
    """The file with parts replaced (None: left out), and checksums that fit."""
    content: dict[str, bytes | None] = {**members(path), **{k.replace("__", "/"): v for k, v in changes.items()}}
    with zipfile.ZipFile(path, "w") as archive_file:
        for name, data in content.items():
            if data is not None:
                archive_file.writestr(name, data)
    return path


def test_a_file_runs_without_compiling(square_file: Path) -> None:
    loaded = load(square_file)
    assert isinstance(loaded, LoadedFunction)
    with no_compile():
        assert loaded(tensor(1, 2, 3), tensor(2, 3, 4)).tolist() == [5, 11, 19]
    assert loaded.specialisations[0].is_compiled
    assert "native code, loaded from a file" in loaded.explain()
    assert loaded.__name__ == "add_square" and loaded.metadata == {"author": "me"}


def test_parts_of_a_file(square_file: Path) -> None:
    content = members(square_file)
    native = [name for name in content if name.startswith("native/")]
    assert set(content) - set(native) == {
        "weights.safetensors", "ingot.json", "graph.ir", "kernels.py", "extra/notes.txt", "extra/data/raw.bin"
    }  # fmt: skip
    assert sorted(name.rsplit(".", 1)[1] for name in native) == ["json", "o", "safetensors", "signature"]
    assert ir.parse(content["graph.ir"].decode()) == ir.parse(GRAPH)
    assert b"def add_square(" in content["kernels.py"]


def test_extra_files(square_file: Path) -> None:
    extra: dict[str, Any] = {"notes.txt": "", "data/raw.bin": ""}
    load(square_file, _extra_files=extra)
    assert extra == {"notes.txt": b"hello", "data/raw.bin": b"\x00\x01"}
    absent = {"missing.txt": "as it was"}
    load(square_file, _extra_files=absent)
    assert absent == {"missing.txt": "as it was"}


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../b", "a\\b"])
def test_names_that_extra_files_cannot_have(square_file: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of an extra file"):
        save(load(square_file), square_file, {name: b""})


def test_weights_and_parameters_come_back(weighted_file: Path) -> None:
    loaded = load(weighted_file)
    with executor("interpreter"):
        np.testing.assert_array_equal(loaded(wrap(WEIGHT)).numpy(), WEIGHT * WEIGHT + 0.5)
        np.testing.assert_array_equal(loaded(x=wrap(WEIGHT)).numpy(), WEIGHT * WEIGHT + 0.5)
        loaded.state_dict()["w"].numpy()[...] = 1  # mapped privately: it can be written, and the file stays as it is
        np.testing.assert_array_equal(loaded(wrap(WEIGHT)).numpy(), WEIGHT * WEIGHT + 1)
        np.testing.assert_array_equal(load(weighted_file)(wrap(WEIGHT)).numpy(), WEIGHT * WEIGHT + 0.5)


def test_weights_are_mapped_and_aligned(weighted_file: Path) -> None:
    loaded = load(weighted_file)
    constant = next(i for i in loaded.graph.walk() if i.op.name == "constant").attributes["value"]
    assert constant.name == "fc.weight" and constant.data.base is not None
    assert constant.data.ctypes.data % 64 == 0
    assert loaded.state_dict()["w"].numpy().ctypes.data % 64 == 0


def test_a_loaded_callable_can_be_saved_again(weighted_file: Path, tmp_path: Path) -> None:
    save(load(weighted_file), tmp_path / "again.ingot", native=False)
    with executor("interpreter"):
        assert load(tmp_path / "again.ingot")(wrap(WEIGHT)).tolist() == load(weighted_file)(wrap(WEIGHT)).tolist()


def test_equal_callables_give_equal_files(weighted_file: Path, tmp_path: Path) -> None:
    function = weighted()
    function.graph_for(wrap(WEIGHT))
    save(function, tmp_path / "second.ingot", native=False)
    assert weighted_file.read_bytes() == (tmp_path / "second.ingot").read_bytes()


def test_what_has_no_native_form_is_saved_without_machine_code(tmp_path: Path) -> None:
    function = weighted()
    function.graph_for(wrap(WEIGHT))
    with pytest.warns(FallbackWarning, match="weighted has no native form"):
        save(function, tmp_path / "weighted.ingot")
    assert set(members(tmp_path / "weighted.ingot")) == {"weights.safetensors", "ingot.json", "graph.ir"}


def test_file_objects() -> None:
    function = FromGraph(ir.parse(GRAPH))
    function.graph_for(tensor(1), tensor(2))
    buffer = io.BytesIO()
    save(function, buffer)
    buffer.seek(0)
    assert load(buffer)(tensor(1), tensor(2)).tolist() == [5]
    with pytest.raises(TypeError, match="expected a binary file"):
        load(io.StringIO("text"))  # type: ignore[arg-type]


def test_other_arguments_than_were_saved(square_file: Path) -> None:
    with pytest.raises(
        JitError, match=r"no graph for \(i64\[s0\], f32\[s1\]\); it has\n  \(x: f32\[n\], y: f32\[n\]\)"
    ):
        load(square_file)(wrap(np.array([1])), tensor(1))


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(JitError, match="add_square has no graph yet"):
        save(FromGraph(ir.parse(GRAPH)), tmp_path / "x.ingot")
    with pytest.raises(TypeError, match="expected a compiled callable"):
        save(len, tmp_path / "x.ingot")  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.ingot"))


def test_a_failed_save_leaves_the_old_file(square_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = square_file.read_bytes()

    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(load(square_file), square_file)
    assert square_file.read_bytes() == before
    assert [p.name for p in square_file.parent.iterdir() if p.name.startswith(".")] == []


class TestTrust:
    def strange(self, path: Path) -> Path:
        """The file as another user would have signed it."""
        name = next(n for n in members(path) if n.endswith(".signature"))
        return rewrite(path, **{name: b"0" * 64})

    def test_code_signed_by_somebody_else_is_not_run(self, square_file: Path) -> None:
        loaded = load(self.strange(square_file))
        assert not loaded.specialisations[0].is_compiled
        with no_compile(), executor("interpreter"):
            assert loaded(tensor(1), tensor(2)).tolist() == [5]

    def test_unless_it_is_trusted(self, square_file: Path) -> None:
        assert load(self.strange(square_file), trust=True).specialisations[0].is_compiled

    def test_kernels_are_generated_again_from_the_graph(self, square_file: Path) -> None:
        loaded = load(self.strange(square_file))
        assert loaded(tensor(1, 2), tensor(2, 3)).tolist() == [5, 11]

    @pytest.mark.parametrize("part", ["o", "json", "safetensors"])
    def test_a_signature_covers_every_part(self, square_file: Path, part: str) -> None:
        content = members(square_file)
        name = next(n for n in content if n.startswith("native/") and n.endswith(f".{part}"))
        changed = bytearray(content[name])
        changed[-1] ^= 1
        loaded = load(rewrite(square_file, **{name: bytes(changed)}))
        assert not loaded.specialisations[0].is_compiled

    def test_a_signature_covers_the_graph(self, square_file: Path) -> None:
        graph = members(square_file)["graph.ir"].replace(b"mul", b"div")
        loaded = load(rewrite(square_file, **{"graph.ir": graph}))
        assert not loaded.specialisations[0].is_compiled

    def test_code_for_features_that_this_cpu_lacks_is_not_run(self, square_file: Path) -> None:
        name = next(n for n in members(square_file) if n.startswith("native/") and n.endswith(".json"))
        data = json.loads(members(square_file)[name])
        data["features"] += ",+quantum"
        loaded = load(rewrite(square_file, **{name: json.dumps(data).encode()}), trust=True)
        assert not loaded.specialisations[0].is_compiled

    def test_a_trusted_object_that_is_damaged_is_an_error(self, square_file: Path) -> None:
        name = next(n for n in members(square_file) if n.endswith(".o"))
        with pytest.raises(LoadError, match=r"native/.*\.o: object file"):
            load(rewrite(square_file, **{name: b"\x7fELF" + bytes(100)}), trust=True)

    def test_the_key_is_private(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
        assert sign(b"a", b"b") is not None
        key = tmp_path / "cache" / "signing-key"
        assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
        signature = sign(b"a", b"b")
        assert signature is not None and is_signed_by_us(signature, b"a", b"b")
        assert not is_signed_by_us(signature, b"ab", b"")
        key.chmod(0o644)
        assert not is_signed_by_us(signature, b"a", b"b")
        assert sign(b"a", b"b") is None

    def test_there_is_no_key_where_none_can_be_kept(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "file" / "cache"))
        assert sign(b"a") is None and not is_signed_by_us("", b"a")


class TestDamage:
    def test_every_flipped_byte_is_found_or_harmless(self, weighted_file: Path, tmp_path: Path) -> None:
        content = weighted_file.read_bytes()
        damaged = tmp_path / "damaged.ingot"
        expected = ir.print_graph(load(weighted_file).graph)
        for position in range(0, len(content), 37):
            changed = bytearray(content)
            changed[position] ^= 0x41
            damaged.write_bytes(changed)
            try:
                loaded = load(damaged)
            except LoadError as error:
                assert str(error)
                continue
            # A byte that means nothing: a date, an attribute, padding.
            assert ir.print_graph(loaded.graph) == expected
            with executor("interpreter"):
                np.testing.assert_array_equal(loaded(wrap(WEIGHT)).numpy(), WEIGHT * WEIGHT + 0.5)

    def test_a_file_that_is_cut_short(self, weighted_file: Path) -> None:
        content = weighted_file.read_bytes()
        for length in (0, 1, 10, 100, len(content) // 2, len(content) - 1):
            weighted_file.write_bytes(content[:length])
            with pytest.raises(LoadError):
                load(weighted_file)

    @pytest.mark.parametrize("name", ["ingot.json", "graph.ir", "weights.safetensors"])
    @pytest.mark.parametrize("content", [None, b"", b"garbage \xff\x00", b"{}", b"[1]", b"[" * 100_000])
    def test_errors_name_the_part(self, weighted_file: Path, name: str, content: bytes | None) -> None:
        with pytest.raises(LoadError, match=name):
            load(rewrite(weighted_file, **{name: content}))

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("format", 3, "the format version is 3, and this version of Ingot reads 2: upgrade"),
            ("format", "1", "the format version is '1'"),
            ("name", 3, "'name' must be str"),
            ("specialisations", [], "0 graphs are described"),
            ("specialisations", [{}], "'leaves' must be list"),
            ("specialisations", [{"graph": 1}], "the graphs have the numbers"),
            ("methods", [], "the methods are not described"),
            ("methods", {"encode": {}}, "'specialisations' must be list"),
            ("guarded", [["", "training"]], "not described as expected"),
            ("specialisations", [7], "not described by an object"),
            ("signature", [["x"]], "not a parameter"),
            ("signature", [["not a name", "VAR_POSITIONAL", None]], "not a valid parameter name"),
            ("parameters", ["v"], "the parameter 'v' is missing"),
            ("digests", {"fc.weight": "0000000000000000"}, "graph.ir"),
        ],
    )
    def test_descriptions_that_are_wrong(self, weighted_file: Path, field: str, value: Any, message: str) -> None:
        data = json.loads(members(weighted_file)["ingot.json"])
        data[field] = value
        with pytest.raises(LoadError, match=message):
            load(rewrite(weighted_file, **{"ingot.json": json.dumps(data).encode()}))

    def test_compressed_parts_are_refused(self, weighted_file: Path) -> None:
        content = members(weighted_file)
        with zipfile.ZipFile(weighted_file, "w", zipfile.ZIP_DEFLATED) as archive_file:
            for name, data in content.items():
                archive_file.writestr(name, data)
        with pytest.raises(LoadError, match="compressed or encrypted"):
            load(weighted_file)

    def test_files_that_do_not_exist_or_are_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "missing.ingot")
        (tmp_path / "text").write_text("hello")
        with pytest.raises(LoadError, match="not an ingot"):
            load(tmp_path / "text")


ARRAYS: dict[str, np.ndarray] = {
    "a": np.arange(5, dtype=np.float32),
    "b": np.zeros((0, 3), np.int64),
    "c": np.array(True),
    "d": np.arange(6, dtype=np.complex64).reshape(2, 3).T,
}


class TestSafetensors:
    def test_round_trip(self) -> None:
        blob = write_safetensors(ARRAYS, {"made": "by hand"})
        arrays, metadata = read_safetensors(blob)
        assert metadata == {"made": "by hand"} and list(arrays) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype and arrays[name].shape == array.shape
            np.testing.assert_array_equal(arrays[name], array)

    def test_arrays_start_at_multiples_of_64(self) -> None:
        blob = write_safetensors(ARRAYS)
        (length,) = struct.unpack("<Q", blob[:8])
        assert (8 + length) % 64 == 0
        header = json.loads(blob[8 : 8 + length])
        assert all(entry["data_offsets"][0] % 64 == 0 for name, entry in header.items() if not name.startswith("__"))

    @pytest.mark.parametrize(
        "header",
        [
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}',
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
            '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
            '{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}',
            '{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}',
            '{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}',
            '{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}',
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,80]}}',
            '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}',
            '{"a":[]}', "[]", "{", "null", '{"__metadata__":{"x":1}}',
        ],
    )  # fmt: skip
    def test_headers_that_are_wrong(self, header: str) -> None:
        blob = struct.pack("<Q", len(header)) + header.encode() + bytes(8)
        with pytest.raises(SafetensorsError):
            read_safetensors(blob)

    def test_bytes_that_are_no_file(self) -> None:
        for blob in (b"", b"1234567", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 3) + b"{}"):
            with pytest.raises(SafetensorsError):
                read_safetensors(blob)

    def test_what_cannot_be_written(self) -> None:
        with pytest.raises(SafetensorsError, match="dtype object"):
            write_safetensors({"a": np.array([None])})
        with pytest.raises(SafetensorsError, match="reserved"):
            write_safetensors({"__padding__.0": np.zeros(1)})


@pytest.fixture
def fresh_process(square_file: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    program = (
        "import sys, time; start = time.perf_counter()\n"
        "from ingot.jit.archive import load\n"
        "from ingot.eager.tensor import wrap\n"
        "import numpy as np\n"
        f"f = load({str(square_file)!r})\n"
        "print(f(wrap(np.ones(3, 'float32')), wrap(np.ones(3, 'float32'))).tolist(), 'numba' in sys.modules)\n"
    )
    yield subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


def test_a_fresh_process_needs_no_numba(fresh_process: subprocess.CompletedProcess[str]) -> None:
    assert fresh_process.stderr == ""
    assert fresh_process.stdout == "[2.0, 2.0, 2.0] False\n"
