"""PyTorch's own operator samples (`op_db`) against Ingot where PyTorch is installed: values, dtypes, shapes, gradients.

The names, arguments and samples come from PyTorch; what Ingot does not offer is listed here with the reason.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import ingot
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    samples_module = pytest.importorskip(
        "torch.testing._internal.common_methods_invocations", reason="PyTorch's test helpers need further packages"
    )

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

_SAMPLES = 4
_ABSENT = {
    r"_.*|torch_.*|slice|max_pool2d_with_indices_backward|native_dropout_backward": "internal to PyTorch",
    r"jiterator_.*": "CUDA only",
    r"sparse_.*|to_sparse": "tensors are strided",
    r"chalf|hash_tensor": "gives complex32, or hashes of PyTorch's own",
    r"as_strided_partial_views": "the samples look at memory outside their tensor",
    r"nn_functional_triplet_margin_with_distance_loss": "the samples pass functions of PyTorch",
}
_OTHERWISE = {
    r"linalg_svd|svd": "columns that span a null space are free",
    r"linalg_eig": "the order of eigenvalues is free",
    r"as_strided_scatter": "PyTorch's gradient misses a zero",
    r"nn_functional_ctc_loss": "PyTorch's gradient is right after log_softmax only, where both are the same",
    r"nextafter": "PyTorch has no gradient",
    r"special_bessel_[jy].*|special_airy_ai": "PyTorch computes these with constants of single precision",
    r"linalg_norm_subgradients_at_zero": "another subgradient",
    r"nn_functional_scaled_dot_product_attention|nn_functional_multi_head_attention_forward": "dropout in the samples",
    r"polygamma.*|special_polygamma.*": "PyTorch's series loses digits next to the poles",
    r"matrix_exp": "ill-conditioned samples",
    r"cholesky_inverse|cholesky_solve": "PyTorch's gradient is also of the triangle that is not read",
}
_RANDOM = (
    r"bernoulli|cauchy|exponential|geometric|log_normal|normal.*|uniform|rand.*|multinomial|.*empty.*|resize_.*|"
    r"nn_functional_(\w*dropout\w*|rrelu|fractional.*)|\w*_lowrank|argsort|sort|topk|kthvalue|mode|median|nanmedian"
)
_METHODS = re.compile(
    r"T|H|mT|mH|bool|byte|char|double|float|half|int|long|short|bfloat16|cdouble|cfloat|to|contiguous|item|view|view_as|"
    r"reshape_as|sum_to_size|expand|expand_as|unfold|repeat|new_\w+|__\w+__|cauchy|exponential|geometric|log_normal|"
    r"uniform|zero_|resize_|resize_as_"
)
_IN_PLACE = {"cauchy", "exponential", "geometric", "log_normal", "uniform"}


def reason(table: dict[str, str], name: str) -> str | None:
    return next((why for pattern, why in table.items() if re.fullmatch(pattern, name)), None)


def lookup(root: Any, name: str) -> Any:
    for part in name.split("."):
        root = getattr(root, part)
    return root


def function_of(library: Any, op: Any) -> Callable[..., Any]:
    """What a sample of the operator calls: samples of some come in another order than the arguments."""
    name = op.name
    if name == "where":
        return lambda x, condition, other: library.where(condition, x, other)
    if name in ("nn.functional.embedding", "nn.functional.embedding_bag"):
        return lambda weight, index, *a, **k: lookup(library, name)(index, weight, *a, **k)
    if name in ("polygamma", "special.polygamma"):
        return lambda x, n, **k: lookup(library, name)(n, x, **k)
    if name == "einsum":
        return lambda operands, equation: library.einsum(equation, *operands)
    if op.formatted_name == "linalg_pinv_singular":
        return lambda a, b: library.linalg.pinv(a @ b.mT)
    if name in ("svd_lowrank", "pca_lowrank"):
        return lambda a, b, **k: getattr(library, name)(a @ b.mT, **k)
    if op.formatted_name == "normal_in_place":
        return lambda x, *a, **k: x.normal_(*a, **k)
    if _METHODS.fullmatch(name) or not has(library, name):
        method = f"{name}_" if name in _IN_PLACE else name

        def call(x: Any, *a: Any, **k: Any) -> Any:
            value = getattr(x.clone() if method.endswith("_") and not method.startswith("_") else x, method)
            return value(*a, **k) if callable(value) and not isinstance(value, library.Tensor) else value

        return call
    return lookup(library, name)  # type: ignore[no-any-return]


def has(library: Any, name: str) -> bool:
    try:
        lookup(library, name)
    except AttributeError:
        return False
    return True


def converted(value: Any) -> Any:
    """An argument of PyTorch's as Ingot's."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            pytest.skip("a sparse sample")
        array = value.detach().resolve_conj().resolve_neg()
        if value.dtype is torch.bfloat16:
            return ingot.tensor(array.float().numpy()).to(ingot.bfloat16)
        result = ingot.from_numpy(array.numpy().copy())
        return result.requires_grad_() if value.requires_grad else result
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return getattr(ingot, str(value).removeprefix("torch."))
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, torch.device):
        return ingot.device(str(value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(converted, value))
    if isinstance(value, dict):
        return {k: converted(v) for k, v in value.items()}
    return value


def tensors(value: Any, kind: Any) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item, kind)
    elif isinstance(value, dict):
        yield from tensors(tuple(value.values()), kind)


def assert_alike(found: Any, wanted: Any, *, values: bool) -> None:
    if isinstance(wanted, torch.Tensor):
        assert isinstance(found, ingot.Tensor)
        assert found.dtype.name == str(wanted.dtype).removeprefix("torch.")
        assert tuple(found.shape) == tuple(wanted.shape)
        if values:
            if wanted.dtype is torch.bfloat16:
                found, wanted = found.float(), wanted.float()
            expected = wanted.detach().resolve_conj().resolve_neg().numpy()
            np.testing.assert_allclose(found.detach().numpy(), expected, rtol=3e-5, atol=3e-5)
    elif isinstance(wanted, (list, tuple)):
        assert isinstance(found, list if isinstance(wanted, list) else tuple)
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_alike(a, b, values=values)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True)
    elif isinstance(wanted, torch.dtype):
        assert found is converted(wanted)
    else:
        assert found == wanted


OPERATORS = [op for op in samples_module.op_db if reason(_ABSENT, op.formatted_name) is None]


def drawn(op: Any, dtype: Any, requires_grad: bool) -> list[Any]:
    torch.manual_seed(0)
    return list(islice(op.sample_inputs("cpu", dtype, requires_grad=requires_grad), _SAMPLES))


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.formatted_name)
def test_values_of_samples(op: Any) -> None:
    supported = op.supported_dtypes("cpu")
    dtype = next((d for d in (torch.float32, torch.int64, torch.bool) if d in supported), None)
    if dtype is None:
        pytest.skip("no sample of a dtype that Ingot has")
    free = reason(_OTHERWISE, op.formatted_name) is not None or re.fullmatch(_RANDOM, op.formatted_name) is not None
    ours, theirs = function_of(ingot, op), function_of(torch, op)
    for sample in drawn(op, dtype, False):
        arguments = converted((sample.input, *sample.args)), converted(sample.kwargs)
        wanted = theirs(sample.input, *sample.args, **sample.kwargs)
        assert_alike(ours(*arguments[0], **arguments[1]), wanted, values=not free)


@pytest.mark.parametrize(
    "op",
    [op for op in OPERATORS if op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu")],
    ids=lambda op: op.formatted_name,
)
def test_gradients_of_samples(op: Any) -> None:
    if reason(_OTHERWISE, op.formatted_name) or re.fullmatch(_RANDOM, op.formatted_name):
        pytest.skip("results are not determined, or differ for a reason named above")
    ours, theirs = function_of(ingot, op), function_of(torch, op)
    for sample in drawn(op, torch.float64, True)[:2]:
        process = sample.output_process_fn_grad or (lambda outputs: outputs)
        given = (sample.input, sample.args, sample.kwargs)
        leaves = [t for t in tensors(given, torch.Tensor) if t.requires_grad]
        mine = converted(given)
        outputs = list(tensors(process(theirs(sample.input, *sample.args, **sample.kwargs)), torch.Tensor))
        found = list(tensors(process(ours(mine[0], *mine[1], **mine[2])), ingot.Tensor))
        used = [i for i, o in enumerate(outputs) if o.requires_grad and not o.is_complex()]
        if not leaves or not used:
            continue
        ones = [torch.ones_like(outputs[i]) for i in used]
        wanted = torch.autograd.grad([outputs[i] for i in used], leaves, ones, allow_unused=True)
        own = [t for t in tensors(mine, ingot.Tensor) if t.requires_grad]
        gradients = ingot.autograd.grad(
            [found[i] for i in used], own, [ingot.ones(tuple(o.shape), dtype=ingot.float64) for o in ones],
            allow_unused=True,
        )  # fmt: skip
        for a, b in zip(gradients, wanted, strict=True):
            if a is None and b is None:
                continue
            shape = tuple((b if a is None else a).shape)
            expected = np.zeros(shape) if b is None else b.numpy(force=True)
            actual = np.zeros(shape) if a is None else a.numpy()
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
