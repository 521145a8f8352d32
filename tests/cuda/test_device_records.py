"""Every op's samples on a simulated GPU, compared with the CPU: values, gradients, devices; and PyTorch's calls."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.cuda import HostFallbackWarning
from ingot.eager.device import as_device, move_array
from ingot.eager.dispatch import dispatch
from ingot.eager.tensor import Tensor, wrap
from ingot.ir.random_state import default_generator
from op_samples import OPS, SEED, as_arrays, sample_of

# Those of Python's numbers, text and containers have no device.
TENSOR_OPS = [op for op in OPS if "." not in op.name]
# Ops whose reference walks over matrices element by element: they run on the CPU, with a warning.
ON_HOST = {"ldl_factor_ex", "ldl_solve", "lu_factor_ex", "lu_permutation"}


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[Any]:
    with ingot.cuda.simulate() as simulated:
        yield simulated


def tensors(values: Any, device: str, leaves: list[Tensor], grad: bool) -> Any:
    """The operands of a sample as tensors on a device."""
    if isinstance(values, tuple):
        return tuple(tensors(v, device, leaves, grad) for v in values)
    if not isinstance(values, np.ndarray):
        return values
    tensor = wrap(move_array(values.copy(), as_device(device)))
    if grad and values.dtype.kind == "f":
        tensor.requires_grad_()
    leaves.append(tensor)
    return tensor


def outcome(op: Any, index: int, device: str) -> tuple[list[Any], list[Any]]:
    """The results of a sample, and the gradients of the sum of their squares."""
    sample, operands, attributes = sample_of(op, index)
    leaves: list[Tensor] = []
    arguments = tensors(operands, device, leaves, op.vjp is not None and sample.differentiable)
    default_generator.manual_seed(SEED)
    found = dispatch(op, arguments, attributes)
    results = list(found) if isinstance(found, (tuple, list)) else [found]
    recorded = [r for r in results if isinstance(r, Tensor) and r.requires_grad and r.dtype.is_floating_point]
    if recorded:
        sum((r * r).sum() for r in recorded).backward()  # type: ignore[union-attr]
    if device != "cpu" and leaves:
        expected = {r.device.type for r in (*results, *(t.grad for t in leaves)) if isinstance(r, Tensor)}
        assert expected <= {"cuda"}, f"{op.name} has results on {expected}"
    return results, [t.grad for t in leaves]


def assert_same(expected: Any, found: Any, tolerance: float) -> None:
    if isinstance(expected, (tuple, list)):
        assert len(expected) == len(found)
        for a, b in zip(expected, found, strict=True):
            assert_same(a, b, tolerance)
    elif isinstance(expected, Tensor):
        assert found.dtype is expected.dtype and found.shape == expected.shape
        a, b = (t.detach().cpu()._array for t in (expected, found))
        wide = np.complex128 if a.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(b.astype(wide), a.astype(wide), rtol=tolerance, atol=1e-6)
    else:
        assert type(found) is type(expected) and (found == expected or expected != expected)


@pytest.mark.parametrize("op", TENSOR_OPS, ids=lambda op: op.name)
def test_samples_compute_the_same_on_the_device(op: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HostFallbackWarning)
        for index, sample in enumerate(op.samples()):
            expected, found = outcome(op, index, "cpu"), outcome(op, index, "cuda")
            assert_same(expected[0], found[0], sample.tolerance or 1e-5)
            assert_same(expected[1], found[1], 1e-4)
    assert (op.name in ingot.cuda.host_ops()) == (op.name in ON_HOST), "form on the GPU"


def refusal(op: Any, error: Any, device: str) -> tuple[type, str]:
    """How a call is refused on a device."""
    with pytest.raises(error.exception) as refused:
        operands, attributes = op.schema.bind(*error.args, **error.kwargs)
        dispatch(op, tensors(as_arrays(operands), device, [], False), attributes)
    return refused.type, str(refused.value)


@pytest.mark.parametrize("op", [op for op in TENSOR_OPS if tuple(op.errors())], ids=lambda op: op.name)
def test_what_the_cpu_refuses_is_refused_alike(op: Any) -> None:
    for error in op.errors():
        assert refusal(op, error, "cuda") == refusal(op, error, "cpu")


# -- recorded calls of PyTorch -----------------------------------------------------------------------------------------

RECORDED = Path(__file__).parent.parent / "oracle" / "recorded"
FACTORIES = (
    "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "eye", "full", "full_like",
    "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones", "ones_like", "rand",
    "randint", "randn", "randperm", "range", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
    "zeros_like",
)  # fmt: skip
# What says where a tensor is, or takes its memory: that differs between devices.
DIFFERS = (
    '"cpu"',
    ".cpu()",
    "is_cuda",
    "get_device",
    ".device",
    "numpy()",
    "np.asarray(x",
    "np.array(x",
    "repr(",
    "str(",
)


class OnDevice:
    """`ingot`, whose factories make tensors on the GPU."""

    def __init__(self) -> None:
        for name in FACTORIES:
            setattr(self, name, self._placing(getattr(ingot, name)))

    @staticmethod
    def _placing(function: Any) -> Any:
        return lambda *args, **kwargs: function(*args, **({} if "out" in kwargs else {"device": "cuda"}), **kwargs)

    @staticmethod
    def from_numpy(array: Any) -> Any:
        return ingot.from_numpy(array).cuda()

    def __getattr__(self, name: str) -> Any:
        return getattr(ingot, name)


def brought_home(value: Any) -> Any:
    """A result with its tensors on the CPU, where none may have been before."""
    if isinstance(value, Tensor):
        assert value.is_cuda, "the result is on the CPU"
        return value.detach().cpu().requires_grad_(value.requires_grad)
    if isinstance(value, ingot.Size):
        return value
    if isinstance(value, dict):
        return {k: brought_home(v) for k, v in value.items()}
    return tuple(map(brought_home, value)) if isinstance(value, (tuple, list)) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.jsonl")), ids=lambda path: path.stem)
def test_calls_as_pytorch_makes_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECORDED.parent))
    compare = pytest.importorskip("oracle_compare", reason="the comparison lies in tests/oracle")
    library, failures = OnDevice(), []
    for line in path.read_text().splitlines():
        code, expected = json.loads(line)
        if (
            path.stem == "printing"
            or any(text in code for text in DIFFERS)
            or "signal.windows" in code
            or "freq(" in code
        ):
            continue
        try:
            difference = compare.recorded_difference(expected, brought_home(compare.run(code, library)))
        except AssertionError as error:
            difference = str(error)
        failures += [f"{code}: {difference}"] if difference else []
    assert not failures, "\n".join(failures)
