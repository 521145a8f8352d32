"""Pooling over one dimension: that over two with a height of 1."""

from collections.abc import Callable
from typing import Any

from ..sizes import Sizes
from ..types import TensorType
from ._common import randoms, require_tensor
from ._derive import derived_vjp
from ._op import Decompose, ErrorSample, F, Op, Sample, define, get_op

_PAIRED = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}


def _paired(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of the op over two dimensions: what concerns the height is put in front."""

    def pair(name: str, value: Any) -> Any:
        if name not in _PAIRED or value is None:
            return value
        values = value if isinstance(value, tuple) else (value,)
        if len(values) != 1:
            raise RuntimeError(f"expected {name} to be one int, given {list(values)}")
        return (_PAIRED[name], *values)

    return {name: pair(name, value) for name, value in attributes.items()}


def _flat(name: str, doc: str, parameters: str, samples: Callable[[], list[Sample]]) -> Op:
    wide = f"{name.removesuffix('1d')}2d"

    def infer(sizes: Sizes, input: Any, **attributes: Any) -> TensorType:
        input = require_tensor(name, "input", input)
        if input.rank not in (2, 3):
            raise RuntimeError(f"{name}: expected an input of rank 2 or 3, given {input}")
        tall = TensorType(input.dtype, (*input.shape[:-1], 1, input.shape[-1]), input.device)
        (result,) = get_op(wide).infer_types(sizes, (tall,), _extended(attributes))
        assert isinstance(result, TensorType)
        return TensorType(result.dtype, (*result.shape[:-2], result.shape[-1]), result.device)

    def _extended(attributes: dict[str, Any]) -> dict[str, Any]:
        defaults = {p.name: p.default for p in get_op(wide).schema.attributes if not p.required}
        return defaults | _paired(attributes)

    def evaluate(xp: Any, input: Any, **attributes: Any) -> Any:
        compute = get_op(wide).evaluate
        assert compute is not None
        return compute(xp, input[..., None, :], **_extended(attributes))[..., 0, :]

    def decompose(input: Any, **attributes: Any) -> Any:
        return F.squeeze(getattr(F, wide)(F.unsqueeze(input, -2), **_extended(attributes)), -2)

    return define(
        f"{name}(input: Tensor, {parameters})",
        doc,
        infer=infer,
        evaluate=evaluate,
        vjp=derived_vjp(decompose),
        lower=Decompose(decompose),
        public=("functional",),
        samples=samples,
        errors=lambda: [ErrorSample((randoms(4), 2), RuntimeError, "rank 2 or 3")],
    )


MAX_POOL1D = _flat(
    "max_pool1d",
    "The maximum of each window of the last dimension; the stride is the kernel's size unless given.\n\n"
    ">>> ingot.nn.functional.max_pool1d(ingot.tensor([[1., 3., 2., 0.]]), 2)\ntensor([[3., 2.]])",
    "kernel_size: ints, stride: ints | None = None, padding: ints = 0, dilation: ints = 1, ceil_mode: bool = False",
    lambda: [
        Sample((randoms(2, 3, 8), 2)),
        Sample((randoms(3, 7), 3), {"stride": 2, "padding": 1}),
        Sample((randoms(1, 1, 5), 2), {"ceil_mode": True}),
    ],
)
AVG_POOL1D = _flat(
    "avg_pool1d",
    "The mean of each window of the last dimension; zeros of the border count unless `count_include_pad` is off.\n\n"
    ">>> ingot.nn.functional.avg_pool1d(ingot.tensor([[1., 3., 2., 0.]]), 2)\ntensor([[2., 1.]])",
    "kernel_size: ints, stride: ints | None = None, padding: ints = 0, ceil_mode: bool = False, "
    "count_include_pad: bool = True",
    lambda: [
        Sample((randoms(2, 3, 8), 2)),
        Sample((randoms(3, 7), 3), {"stride": 2, "padding": 1, "count_include_pad": False}),
    ],
)
ADAPTIVE_AVG_POOL1D = _flat(
    "adaptive_avg_pool1d",
    "Means over windows that divide the last dimension into `output_size` parts.\n\n"
    ">>> ingot.nn.functional.adaptive_avg_pool1d(ingot.tensor([[1., 3., 2., 0.]]), 2)\ntensor([[2., 1.]])",
    "output_size: ints",
    lambda: [Sample((randoms(2, 3, 8), 2)), Sample((randoms(3, 7), 3)), Sample((randoms(2, 5), 1))],
)
