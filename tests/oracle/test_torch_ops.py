"""The ops that PyTorch has too, against PyTorch: values, dtypes, shapes and gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests; pip install torch to run them")

from ingot.ir import ops as families  # noqa: E402
from ingot.ir.ops import _op  # noqa: E402
from ingot.ir.ops._op import Op, VjpContext, all_ops  # noqa: E402
from ingot.ir.sizes import STATIC  # noqa: E402
from ingot.ir.types import BoolType, ComplexType, FloatType, IntType, TensorType  # noqa: E402

assert families
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's own, about deprecated or empty arguments
functional = torch.nn.functional

# Ops whose public form in PyTorch has another name, or takes its arguments in another way.
_FORMS: dict[str, Callable[..., Any]] = {
    "slice": lambda x, start, stop, dim=0, step=1: x[(slice(None),) * (dim % x.ndim) + (slice(start, stop, step),)],
    "select": lambda x, index, dim: x.select(dim, index),
    "select_scatter": lambda x, src, index, dim: torch.select_scatter(x, src, dim, index),
    "slice_scatter": lambda x, src, start=None, stop=None, dim=0, step=1: torch.slice_scatter(
        x, src, dim, start, stop, step
    ),
    "cast": lambda x, dtype: x.to(getattr(torch, dtype)),
    "where": torch.where,
    "max_dim": torch.max,
    "min_dim": torch.min,
    "sort": torch.sort,
    "topk": torch.topk,
    "var": torch.var,
    "std": torch.std,
    "prod": lambda x, *args, **kwargs: torch.prod(x, *args, **kwargs),
    "embedding": functional.embedding,
    "one_hot": functional.one_hot,
    "repeat_interleave": torch.repeat_interleave,
    "vector_norm": torch.linalg.vector_norm,
    "max_pool2d": functional.max_pool2d,
    "max_pool2d_with_indices": lambda x, *args, **kwargs: functional.max_pool2d(
        x, *args, return_indices=True, **kwargs
    ),
    "batch_norm": functional.batch_norm,
    "full": lambda size, value, dtype=None: torch.full(size, value, dtype=dtype and getattr(torch, dtype)),
    "full_like": lambda x, value, dtype=None: torch.full_like(x, value, dtype=dtype and getattr(torch, dtype)),
    "arange": torch.arange,
    "linspace": torch.linspace,
    "eye": lambda *args, **kwargs: torch.eye(*(a for a in args if a is not None), **kwargs),
    "index": lambda x, indices, spec: x[_index(indices, spec)],
    "index_put": lambda x, indices, values, spec, accumulate=False: (
        x.clone().index_put_(_index(indices, spec), values, accumulate)
        if all(s == "tensor" for s in spec)
        else _assigned(x, _index(indices, spec), values)
    ),
    "scaled_dot_product_attention": functional.scaled_dot_product_attention,
    "clamp": torch.clamp,
    "threshold": lambda x, threshold=0.0, value=0.0: functional.threshold(x, threshold, value),
    "reshape": torch.Tensor.reshape,
    "permute": torch.Tensor.permute,
    "flip": torch.Tensor.flip,
    "layer_norm": lambda x, shape, *args, **kwargs: functional.layer_norm(
        x, shape if isinstance(shape, tuple) else (shape,), *args, **kwargs
    ),
    "item": lambda x: x.item(),
    "qr": torch.linalg.qr,
    "conj": lambda x: torch.conj_physical(x),
}
_NOT_COMPARED = {
    "rand", "randn", "randint", "randperm", "bernoulli", "native_dropout", "multinomial", "poisson",  # other generators
    "contiguous", "detach",  # nothing is computed
    "arange_steps", "scalar_tensor", "conv2d_input_grad", "conv2d_weight_grad", "max_pool2d_grad", "avg_pool2d_grad",
    "batch_norm_training",  # have no public form; tests of the ops they belong to compare them
}  # fmt: skip
# (op, sample): why the two differ by design.
_DIFFERENCES = {
    ("frac", 3): "PyTorch has no frac of integers",
    ("gelu", 3): "PyTorch's vector path gives NaN for gelu(inf)",
    ("conv2d", 6): "four paddings are an extension",
    ("pad", 3): "PyTorch crops before it pads, and fails where that leaves nothing",
    ("pad", 5): "PyTorch pads fewer dimensions of small tensors",
}
_DIFFERENCES |= {(name, 1): "PyTorch takes tensors only" for name in (
    "logaddexp2", "gcd", "lcm", "heaviside", "nextafter")}  # fmt: skip
_DIFFERENCES[("i0", 4)] = "PyTorch's vector path gives NaN for i0(inf)"
_DIFFERENCES[("heaviside", 2)] = "PyTorch does not promote the values"
_NUMBERS_TOO = (
    "maximum", "minimum", "atan2", "logical_and", "logical_or", "logical_xor", "logaddexp", "hypot", "fmax", "fmin",
)  # fmt: skip
_DIFFERENCES |= {(name, 2): "PyTorch takes tensors only" for name in _NUMBERS_TOO}
_DIFFERENCES |= {(name, 3): "PyTorch takes floats only" for name in ("logaddexp", "hypot")}
# Parameters that PyTorch does not differentiate by, or ops that it does not differentiate at these samples.
_CONSTANTS = {
    "binary_cross_entropy": (2,), "binary_cross_entropy_with_logits": (2,), "nll_loss": (2,), "cross_entropy": (2,),
    "batch_norm": (1, 2),
}  # fmt: skip
_NOT_DIFFERENTIATED = {
    ("scatter", 1), ("scatter", 3), ("sgn", 0), ("scatter_add", 1), *(("floor_divide", i) for i in range(7)),
}  # fmt: skip


def _index(indices: Any, spec: Any) -> tuple[Any, ...]:
    pending = iter(indices)
    return tuple(next(pending) if isinstance(s, str) else slice(*s) if isinstance(s, tuple) else s for s in spec)


def _assigned(x: Any, index: Any, values: Any) -> Any:
    result = x.clone()
    result[index] = values
    return result


def _counterpart(op: Op) -> Callable[..., Any] | None:
    if op.name in _FORMS:
        return _FORMS[op.name]
    name = op.schema.name
    if op.name != name:
        return None
    for namespace, module in (("functional", functional), ("", torch), ("method", torch.Tensor)):
        if namespace in op.namespaces and hasattr(module, name):
            function: Callable[..., Any] = getattr(module, name)
            return function
    return None


def _compared() -> list[tuple[Op, int]]:
    found = []
    for op in all_ops():
        if op.evaluate is None or op.name in _NOT_COMPARED or op.name.startswith(("scalar.", "list.", "tuple.")):
            continue
        if _counterpart(op) is not None:
            found += [(op, i) for i in range(len(tuple(op.samples())))]
    return found


SAMPLES = _compared()


def _name(value: Any) -> str:
    return value.name if isinstance(value, Op) else str(value)


class Reference:
    """A tensor for derivative rules: an array, and the attributes that rules may read."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    shape = property(lambda self: self.array.shape)
    ndim = property(lambda self: self.array.ndim)

    @property
    def dtype(self) -> Any:
        return _op_dtype(self.array)


def _op_dtype(array: Any) -> Any:
    from ingot.ir.dtypes import from_numpy

    return from_numpy(array.dtype)


def _map(value: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, (tuple, list)):
        return tuple(_map(v, kind, function) for v in value)
    return value


def _type(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return TensorType(_op_dtype(value), value.shape)
    if isinstance(value, tuple):
        return tuple(map(_type, value))
    if value is None:
        return None
    kinds = {bool: BoolType(), int: IntType(value if type(value) is int else None), float: FloatType()}
    return kinds.get(type(value), ComplexType())


def _run(op: Op, operands: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
    arrays = _map(operands, Reference, lambda r: r.array)
    op.infer_types(STATIC, _type(arrays), attributes)
    result = op.evaluate(np, *arrays, **attributes)
    return _map(result, (np.ndarray, np.generic), Reference)


@pytest.fixture(autouse=True)
def reference_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_op, "_dispatcher", _run)


def _theirs(op: Op, index: int) -> tuple[list[Any], Any]:
    sample = tuple(op.samples())[index]
    function = _counterpart(op)
    assert function is not None
    leaves: list[Any] = []

    def convert(array: Any) -> Any:
        tensor = torch.from_numpy(np.array(array))
        if tensor.is_floating_point() and len(leaves) not in _CONSTANTS.get(op.name, ()):
            tensor.requires_grad_()
        leaves.append(tensor)
        return tensor

    kwargs = {k: getattr(torch, v) if k == "dtype" and op.name not in ("cast", "full", "full_like") else v
              for k, v in sample.kwargs.items()}  # fmt: skip
    args = _map(sample.args, (np.ndarray, np.generic), convert)
    kwargs = {k: _map(v, (np.ndarray, np.generic), convert) for k, v in kwargs.items()}
    if op.schema.parameters and op.schema.parameters[0].variadic:
        args = (args if not isinstance(args[0], tuple) else args[0],)
    return leaves, function(*args, **kwargs)


@pytest.mark.parametrize(("op", "index"), SAMPLES, ids=_name)
def test_agrees_with_pytorch(op: Op, index: int) -> None:
    if (op.name, index) in _DIFFERENCES:
        pytest.skip(_DIFFERENCES[op.name, index])
    sample = tuple(op.samples())[index]
    operands, attributes = op.schema.bind(*sample.args, **sample.kwargs)
    operands = _map(operands, np.generic, np.asarray)
    leaves, expected = _theirs(op, index)
    op.infer_types(STATIC, _type(operands), attributes)
    results = op.evaluate(np, *operands, **attributes)
    results = results if isinstance(results, tuple) else (results,)
    expected = tuple(expected) if isinstance(expected, (tuple, list)) else (expected,)
    for result, wanted in zip(results, expected, strict=True):
        array = wanted.detach().numpy() if torch.is_tensor(wanted) else np.asarray(wanted)
        if torch.is_tensor(wanted):
            assert np.asarray(result).dtype == array.dtype
        assert np.shape(result) == array.shape
        np.testing.assert_allclose(result, array, rtol=1e-4 if array.dtype == np.float32 else 1e-6, atol=1e-5)
    floats = [r for r in expected if torch.is_tensor(r) and r.is_floating_point() and r.requires_grad]
    if op.vjp is None or not sample.differentiable or not floats or (op.name, index) in _NOT_DIFFERENTIATED:
        return
    generator = np.random.default_rng(7)
    cotangents = [generator.uniform(-1, 1, tuple(r.shape)).astype(r.detach().numpy().dtype) for r in expected
                  if torch.is_tensor(r) and r.is_floating_point()]  # fmt: skip
    torch.autograd.backward(floats, [torch.from_numpy(np.asarray(c)) for c in cotangents[: len(floats)]])
    gradients = iter(cotangents)
    given = tuple(Reference(next(gradients)) if np.asarray(r).dtype.kind == "f" else None for r in results)
    needs = tuple(
        tuple(getattr(v, "dtype", np.dtype(bool)).kind == "f" for v in o)
        if isinstance(o, tuple)
        else getattr(getattr(o, "dtype", None), "kind", "") == "f"
        for o in operands
    )
    wrapped = _map(operands, np.ndarray, Reference)
    context = VjpContext(tuple(_map(r, (np.ndarray, np.generic), Reference) for r in results), needs)
    found = op.vjp(context, given if len(given) > 1 else given[0], *wrapped, **attributes)
    flat: list[Any] = []
    for operand, gradient in zip(operands, found, strict=True):
        if isinstance(operand, tuple):
            pairs = list(zip(operand, gradient if gradient is not None else [None] * len(operand), strict=True))
        else:
            pairs = [(operand, gradient)]
        flat += [(o, g) for o, g in pairs if isinstance(o, np.ndarray)]
    for (operand, gradient), leaf in zip(flat, leaves, strict=True):
        if operand.dtype.kind != "f" or leaf.grad is None:
            continue
        actual = np.zeros(operand.shape) if gradient is None else gradient.array
        np.testing.assert_allclose(actual, leaf.grad.numpy(), rtol=2e-4, atol=2e-5)
