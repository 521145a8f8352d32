"""Machine code for other CPUs: made on request, used where it fits, passed over where it does not."""

import zipfile
from pathlib import Path

import ingot
import numpy as np
import pytest
from ingot import jit, nn, runtime
from ingot.jit.archive_native import runs_here
from ingot.jit.cross import named_target, target_names
from ingot.jit.runtime.loader import features_subset, host_architecture
from ingot.jit.runtime.objects import object_symbols

TARGETS = ("x86-64", "x86-64-v3", "aarch64-neoverse-n1", "apple-m1")
LABELS = ("x86_64-generic", "x86_64-v3", "aarch64-neoverse-n1", "aarch64-apple-m1")
X = np.linspace(-1, 1, 33, dtype=np.float32).reshape(3, 11)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ingot.manual_seed(0)
    model = nn.Sequential(nn.Linear(11, 5), nn.Tanh(), nn.Sigmoid()).eval()
    path = tmp_path_factory.mktemp("targets") / "model.ingot"
    jit.trace(model, ingot.randn(2, 11)).save(path, targets=[*TARGETS, "x86-64"])
    return path


def only(path: Path, label: str, target: Path) -> Path:
    """The file with the machine code of one label and no other."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            if not name.startswith("native/") or name.startswith(f"native/{label}."):
                copy.writestr(name, source.read(name))
    return target


def test_every_target_has_its_objects(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        tables = {label: object_symbols(archive.read(f"native/{label}.o")) for label in LABELS}
    assert [(t.container, t.architecture) for t in tables.values()] == [
        ("elf", "x86_64"), ("elf", "x86_64"), ("elf", "aarch64"), ("mach-o", "aarch64")
    ]  # fmt: skip


@pytest.mark.skipif(host_architecture() != "x86_64", reason="runs code for x86-64")
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3"])
def test_code_for_lesser_cpus_gives_the_same(saved: Path, tmp_path: Path, target: str) -> None:
    if features_subset(target):
        pytest.skip(f"this CPU is no {target}")
    label = LABELS[TARGETS.index(target)]
    model = runtime.load(only(saved, label, tmp_path / "one.ingot"))
    assert model.is_native
    np.testing.assert_allclose(model(X), runtime.load(saved)(X), rtol=1e-6, atol=1e-7)


def test_code_for_other_machines_is_passed_over(saved: Path, tmp_path: Path) -> None:
    other = "aarch64-neoverse-n1" if host_architecture() == "x86_64" else "x86_64-v3"
    path = only(saved, other, tmp_path / "other.ingot")
    model = runtime.load(path, trust=True)
    assert not model.is_native
    np.testing.assert_allclose(model(X), runtime.load(saved)(X), rtol=1e-6, atol=1e-7)


def test_systems_are_told_apart() -> None:
    triple = named_target("apple-m1").cpu.triple
    assert runs_here(triple, "") != runs_here("aarch64-unknown-linux-gnu", "")


def test_names() -> None:
    assert set(TARGETS) <= set(target_names())
    with pytest.raises(ValueError, match="'pdp11' is not the name of a CPU"):
        named_target("pdp11")
    with pytest.raises(ValueError, match="pdp11"):
        jit.trace(lambda x: x * 2, ingot.ones(2)).save("never.ingot", targets=["pdp11"])
