"""Saving and loading: structures come back as they were, files are plain safetensors, and never half written."""

import io
import math
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import serialization
from ingot.ir.safetensors import SafetensorsError, read_safetensors


def again(value: Any) -> Any:
    file = io.BytesIO()
    ingot.save(value, file)
    file.seek(0)
    return ingot.load(file)


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    model = ingot.nn.Sequential(ingot.nn.Conv2d(1, 2, 3), ingot.nn.BatchNorm2d(2))
    ingot.save(model.state_dict(), tmp_path / "model.safetensors")
    arrays, metadata = read_safetensors((tmp_path / "model.safetensors").read_bytes())
    assert list(arrays) == list(model.state_dict()) and metadata == {"format": "pt"}
    other = ingot.nn.Sequential(ingot.nn.Conv2d(1, 2, 3), ingot.nn.BatchNorm2d(2))
    other.load_state_dict(ingot.load(tmp_path / "model.safetensors"))
    assert all((a == b).all() for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_structures_come_back() -> None:
    tensor = ingot.arange(6.0).reshape(2, 3)
    value = {
        "n": 2**80, "nan": math.nan, "inf": -math.inf, "z": 1 + 2j, "none": None, "yes": True, 3: (1, [2.5, "ä"]),
        "t": tensor, "again": [tensor], "empty": ingot.zeros(0, 3), "array": np.arange(3, dtype=np.int16),
        "scalar": ingot.tensor(7), "flipped": tensor.mT, (1, 2): {}, "dtype": ingot.float16,
    }  # fmt: skip
    found = again(value)
    assert list(found) == list(value)
    assert math.isnan(found["nan"]) and found["inf"] == -math.inf and found["n"] == 2**80 and found["z"] == 1 + 2j
    assert found[3] == (1, [2.5, "ä"]) and found["yes"] is True and found["none"] is None
    assert found["t"] is found["again"][0] and (found["t"] == tensor).all()
    assert found["empty"].shape == (0, 3) and found["array"].dtype == np.int16 and found["scalar"].item() == 7
    assert (found["flipped"] == tensor.mT).all() and found["dtype"] is ingot.float16


@pytest.mark.parametrize("value", [{}, [], (), 3, "text", None])
def test_small_values_come_back(value: Any) -> None:
    assert again(value) == value and type(again(value)) is type(value)


def test_the_place_of_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(TypeError, match=r"a\.1 is a function"):
        again({"a": [1, len.__call__ and (lambda: 1)]})
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="inside itself"):
        again(loop)


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"PK\x03\x04rest", b"\x80\x02rest of a pickle", b"x" * 100])
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    if data == b"\x00" * 8:
        data = b""
    with pytest.raises(SafetensorsError, match="file"):
        ingot.load(path)


def test_damaged_structures_are_refused() -> None:
    file = io.BytesIO()
    ingot.save({"a": [1, ingot.ones(2)]}, file)
    for damaged in (b'["tuply"', b'["lost",'):
        data = file.getvalue().replace(b'[\\"list\\"', damaged.replace(b'"', b'\\"')[: len(b'[\\"list\\"')])
        with pytest.raises(SafetensorsError):
            ingot.load(io.BytesIO(data))


def test_a_full_disk_leaves_the_last_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    ingot.save({"a": ingot.ones(2)}, path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(serialization.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ingot.save({"a": ingot.zeros(2)}, path)
    monkeypatch.undo()
    assert ingot.load(path)["a"].tolist() == [1.0, 1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_optimisers_continue_where_they_were() -> None:
    def steps(optimiser: Any, weight: Any, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            (weight * weight).sum().backward()
            optimiser.step()

    weight = ingot.nn.Parameter(ingot.tensor([1.0, -2.0]))
    optimiser = ingot.optim.Adam([weight], lr=0.1, amsgrad=True)
    steps(optimiser, weight, 3)
    saved = again({"weight": weight.detach(), "optimiser": optimiser.state_dict()})
    steps(optimiser, weight, 3)
    other = ingot.nn.Parameter(saved["weight"])
    resumed = ingot.optim.Adam([other], lr=0.5)
    resumed.load_state_dict(saved["optimiser"])
    steps(resumed, other, 3)
    assert (other == weight).all()
