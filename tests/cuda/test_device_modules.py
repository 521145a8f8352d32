"""Layers, losses and optimisers on a simulated GPU against what PyTorch did with them (tests/oracle)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ingot
import pytest

ORACLE = Path(__file__).resolve().parents[1] / "oracle"
sys.path.insert(0, str(ORACLE))
try:
    from module_cases import MODULES, OPTIMISERS, run_module, run_optimiser
    from test_recorded_modules import EXPECTED, compare
finally:
    sys.path.remove(str(ORACLE))


class Layers:
    """`ingot.nn`, whose modules and parameters are on the GPU."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(ingot.nn, name)
        if name == "Parameter":
            return lambda tensor: found(tensor.cuda())
        return (lambda *args, **kwargs: found(*args, **kwargs).cuda()) if isinstance(found, type) else found


class OnDevice:
    """`ingot`, with tensors of arrays and modules on the GPU."""

    nn = Layers()

    def __getattr__(self, name: str) -> Any:
        return getattr(ingot, name)

    @staticmethod
    def from_numpy(array: Any) -> Any:
        return ingot.from_numpy(array).cuda()


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    plain = ingot.Tensor.numpy

    def brought_home(tensor: Any) -> Any:
        # Step counts of optimisers are on the CPU, as PyTorch's are.
        assert tensor.is_cuda or not tensor.ndim, "this result is on the CPU"
        return plain(tensor.cpu())

    monkeypatch.setattr(ingot.Tensor, "numpy", brought_home)
    with ingot.cuda.simulate():
        yield


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_layers_and_losses(part: int) -> None:
    library, known = OnDevice(), ingot.cuda.host_ops()
    for number, (constructor, specification) in [*enumerate(MODULES)][part::4]:
        compare(run_module(constructor, specification, library), EXPECTED["modules"][number][1])
    assert ingot.cuda.host_ops() - known <= {"_fractional"}, "all layers but fractional pooling run on the GPU"


@pytest.mark.parametrize("text", OPTIMISERS)
def test_optimisers(text: str) -> None:
    compare(run_optimiser(text, OnDevice()), EXPECTED["optimisers"][text])
