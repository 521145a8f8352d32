"""The operators of PyTorch's exported graphs (ATen), as Ingot's public functions.

Most have the name and the order of arguments of a public function or a method; the table at the end holds the others.
"""

import inspect
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .. import namespace, nn
from ..eager import Tensor
from ..ir.dtypes import DType

__all__ = ["CHECKS", "IGNORED", "function_of", "name_of"]

ingot: Any = namespace

# Arguments of ATen's schemas that say how and where, not what, is computed.
IGNORED = {"cudnn_enabled", "cudnn_enable", "memory_format", "layout", "device", "pin_memory", "non_blocking", "copy"}
# Where the public function has another name.
_RENAMED = {
    "cross_entropy_loss": "cross_entropy",
    "nll_loss_nd": "nll_loss",
    "log_sigmoid": "logsigmoid",
    "feature_dropout": "dropout2d",
}
# Calls in an exported graph that check what export assumed; a graph of ours checks its own sizes.
CHECKS = {
    "_assert_tensor_metadata",
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
}


def name_of(target: Any) -> str:
    schema = getattr(target, "_schema", None)
    return schema.name.partition("::")[2] if schema is not None else getattr(target, "__name__", str(target))


def function_of(target: Any) -> Callable[..., Any]:
    """The function that does what an exported node calls. KeyError with its name where there is none."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        name = getattr(target, "__name__", str(target))
        if getattr(target, "__module__", None) in ("_operator", "operator", "builtins", "math"):
            return target  # type: ignore[no-any-return]
        if name in _SIZES:
            return _SIZES[name]
        raise KeyError(name)
    space, _, name = schema.name.partition("::")
    if space != "aten":
        raise KeyError(schema.name)
    names = [argument.name for argument in schema.arguments]
    if name in _ADAPTED:
        return _called_by_name(_ADAPTED[name], names, every=True)
    spellings = [name, _RENAMED.get(name, name)]
    spellings += [name.removeprefix(prefix) for prefix in ("linalg_", "special_", "fft_") if name.startswith(prefix)]
    for where in (ingot, nn.functional, ingot.special, ingot.linalg, ingot.fft):
        for spelling in spellings:
            found = getattr(where, spelling, None)
            if callable(found) and not isinstance(found, type):
                return _called_by_name(found, names)
    if callable(getattr(Tensor, name, None)):
        return _called_by_name(getattr(Tensor, name), names)
    raise KeyError(f"aten.{name}")


def _called_by_name(function: Callable[..., Any], names: Sequence[str], *, every: bool = False) -> Callable[..., Any]:
    """`function` called with a schema's arguments: by name where it knows the name (or `every` one), else by place.

    Arguments that do not concern it are left out, and a reduction is spelled.
    """
    try:
        known = {*inspect.signature(function).parameters}
    except ValueError:
        known = set()

    def call(*arguments: Any, **keywords: Any) -> Any:
        given = dict(zip(names, arguments, strict=False)) | keywords
        if isinstance(given.get("reduction"), int):
            given["reduction"] = ("none", "mean", "sum")[given["reduction"]]
        if "train" in given and "training" in known:
            given["training"] = given.pop("train")
        if every:
            return function(**{name: value for name, value in given.items() if name not in IGNORED})
        by_place: list[Any] = []
        by_name: dict[str, Any] = {}
        for name, value in given.items():
            if name in IGNORED and name not in known:
                continue
            if (name in known and by_place) or name in keywords:
                by_name[name] = value
            elif not by_name:
                by_place.append(value)
            elif value is not None:
                raise TypeError(f"{getattr(function, '__name__', function)}: no argument is called {name!r}")
        return function(*by_place, **by_name)

    return call


def _slice(self: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Tensor:
    whole = slice(None)
    end = None if isinstance(end, int) and end == sys.maxsize else end
    return self[(whole,) * (dim % self.ndim) + (slice(start, end, step),)]


def _index(self: Tensor, indices: Sequence[Any]) -> Tensor:
    return self[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(self: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    return _index_put_in_place(self.clone(), indices, values, accumulate)


def _index_put_in_place(self: Tensor, indices: Sequence[Any], values: Tensor, accumulate: bool = False) -> Tensor:
    key = tuple(slice(None) if index is None else index for index in indices)
    if accumulate:
        positions = ingot.arange(self.numel()).view(self.shape)[key]
        flat = self.reshape(-1).index_add(0, positions.reshape(-1), values.expand(positions.shape).reshape(-1))
        return self.copy_(flat.view(self.shape))
    self[key] = values
    return self


def _to(self: Tensor, dtype: DType | None = None, other: Tensor | None = None) -> Tensor:
    wanted = other.dtype if other is not None else dtype
    return self if wanted is None else self.to(wanted)


def _arange(**given: Any) -> Tensor:
    bounds = [given.pop(name) for name in ("start", "end", "step") if name in given]
    result: Tensor = ingot.arange(*bounds, **given)
    return result


def _sized(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(size: Sequence[Any], **given: Any) -> Tensor:
        return function(tuple(size), **given)

    return call


def _new(name: str) -> Callable[..., Tensor]:
    def call(self: Tensor, size: Sequence[Any], dtype: DType | None = None) -> Tensor:
        result: Tensor = getattr(ingot, name)(tuple(size), dtype=dtype or self.dtype)
        return result

    return call


def _interpolate(mode: str) -> Callable[..., Tensor]:
    def call(
        input: Any = None,
        self: Any = None,
        output_size: Any = None,
        scale_factors: Any = None,
        align_corners: bool | None = None,
        **scales: Any,
    ) -> Tensor:
        x = self if input is None else input
        options = {} if align_corners is None else {"align_corners": align_corners}
        if output_size is not None:
            result: Tensor = nn.functional.interpolate(x, size=tuple(output_size), mode=mode, **options)
        else:
            result = nn.functional.interpolate(x, scale_factor=tuple(scale_factors), mode=mode, **options)
        return result

    return call


def _attention(query: Any, key: Any, value: Any, **options: Any) -> Tensor:
    result: Tensor = nn.functional.scaled_dot_product_attention(query, key, value, **options)
    return result


def _batch_norm(
    input: Tensor,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    result: Tensor = nn.functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return result


def _grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    result: Tensor = nn.functional.grid_sample(
        input,
        grid,
        ("bilinear", "nearest", "bicubic")[interpolation_mode],
        ("zeros", "border", "reflection")[padding_mode],
        align_corners,
    )
    return result


def _native_norm(name: str) -> Callable[..., Any]:
    """A normalisation of the core operator set, which also returns statistics; only the result is computed."""

    def call(input: Tensor, **options: Any) -> tuple[Tensor, None, None]:
        if name == "group_norm":
            return (
                nn.functional.group_norm(input, options["group"], options["weight"], options["bias"], options["eps"]),
                None,
                None,
            )
        shape = options["normalized_shape"]
        return nn.functional.layer_norm(input, shape, options["weight"], options["bias"], options["eps"]), None, None

    return call


def _pool_with_indices(name: str) -> Callable[..., Any]:
    def call(self: Tensor, *arguments: Any, **options: Any) -> Any:
        return getattr(nn.functional, name)(self, *arguments, return_indices=True, **options)

    return call


def _recurrent(kind: str) -> Callable[..., Any]:
    def call(
        input: Tensor,
        hx: Any,
        params: Sequence[Tensor],
        has_biases: bool,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> Any:
        states = list(hx) if isinstance(hx, tuple | list) else [hx]
        options = {"bias": has_biases, "batch_first": batch_first, "dropout": dropout, "bidirectional": bidirectional}
        width = params[1].shape[1]
        extra = {"nonlinearity": kind.rpartition("_")[2]} if kind.startswith("rnn") else {}
        cls = {"lstm": nn.LSTM, "gru": nn.GRU}.get(kind, nn.RNN)
        layer = cls(input.shape[-1], width, num_layers, **options, **extra).train(train)  # type: ignore[arg-type]
        names = [name for name, _ in layer.named_parameters()]
        start = (states[0], states[1]) if kind == "lstm" else states[0]
        output, last = ingot.func.functional_call(layer, dict(zip(names, params, strict=True)), (input, start))
        return (output, *last) if kind == "lstm" else (output, last)

    return call


_SIZES: dict[str, Callable[..., Any]] = {
    "sym_max": max,
    "sym_min": min,
    "sym_not": operator.not_,
    "sym_int": int,
    "sym_float": float,
    "sym_sum": sum,
}

_ADAPTED: dict[str, Callable[..., Any]] = {
    "slice": _slice,
    "sym_size": lambda self, dim: self.shape[dim],
    "sym_numel": lambda self: self.numel(),
    "sym_stride": lambda self, dim: self.stride(dim),
    "_local_scalar_dense": lambda self: self.item(),
    "item": lambda self: self.item(),
    "index": _index,
    "index_put": _index_put,
    "index_put_": _index_put_in_place,
    "to": _to,
    "_to_copy": _to,
    "type_as": _to,
    "arange": _arange,
    "zeros": _sized(ingot.zeros),
    "ones": _sized(ingot.ones),
    "empty": _sized(ingot.zeros),
    "full": _sized(ingot.full),
    "rand": _sized(ingot.rand),
    "randn": _sized(ingot.randn),
    "new_zeros": _new("zeros"),
    "new_ones": _new("ones"),
    "new_empty": _new("zeros"),
    "new_full": lambda self, size, fill_value, dtype=None: ingot.full(
        tuple(size), fill_value, dtype=dtype or self.dtype
    ),
    "scalar_tensor": lambda s, dtype=None: ingot.tensor(s, dtype=dtype),
    "embedding": lambda weight, indices, padding_idx=None, **_: nn.functional.embedding(indices, weight),
    "batch_norm": _batch_norm,
    "scaled_dot_product_attention": _attention,
    "max_pool1d_with_indices": _pool_with_indices("max_pool1d"),
    "max_pool2d_with_indices": _pool_with_indices("max_pool2d"),
    "max_pool3d_with_indices": _pool_with_indices("max_pool3d"),
    "upsample_nearest1d": _interpolate("nearest"),
    "upsample_nearest2d": _interpolate("nearest"),
    "upsample_nearest3d": _interpolate("nearest"),
    "upsample_linear1d": _interpolate("linear"),
    "upsample_bilinear2d": _interpolate("bilinear"),
    "upsample_trilinear3d": _interpolate("trilinear"),
    "upsample_bicubic2d": _interpolate("bicubic"),
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
    "rnn_tanh": _recurrent("rnn_tanh"),
    "rnn_relu": _recurrent("rnn_relu"),
    "_softmax": lambda self, dim, half_to_float=False: ingot.softmax(self, dim),
    "_log_softmax": lambda self, dim, half_to_float=False: ingot.log_softmax(self, dim),
    "softmax": lambda self, dim, dtype=None: ingot.softmax(self, dim, dtype=dtype),
    "_unsafe_view": lambda self, size: self.reshape(tuple(size)),
    "lift_fresh_copy": lambda self: self.clone(),
    "lift_fresh": lambda self: self,
    "alias": lambda self: self,
    "mT": lambda self: self.mT,
    "mH": lambda self: self.mH,
    "tile": lambda self, dims: ingot.tile(self, tuple(dims)),
    "numpy_T": lambda self: self.T,
    "matrix_H": lambda self: self.mH,
    "adjoint": lambda self: self.mH,
    "constant_pad_nd": lambda self, pad, value=0: nn.functional.pad(self, tuple(pad), value=value),
    "im2col": lambda self, kernel_size, dilation, padding, stride: nn.functional.unfold(
        self, tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride)
    ),
    "col2im": lambda self, output_size, kernel_size, dilation, padding, stride: nn.functional.fold(
        self, tuple(output_size), tuple(kernel_size), tuple(dilation), tuple(padding), tuple(stride)
    ),
    "unfold": lambda self, dimension, size, step: self.unfold(dimension, size, step),
    "grid_sampler": _grid_sampler,
    "grid_sampler_2d": _grid_sampler,
    "grid_sampler_3d": _grid_sampler,
    "native_layer_norm": _native_norm("layer_norm"),
    "native_group_norm": _native_norm("group_norm"),
    "instance_norm": lambda input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps: (
        nn.functional.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    ),
    "adaptive_max_pool1d": lambda self, output_size: nn.functional.adaptive_max_pool1d(self, output_size, True),
    "adaptive_max_pool2d": lambda self, output_size: nn.functional.adaptive_max_pool2d(self, output_size, True),
    "adaptive_max_pool3d": lambda self, output_size: nn.functional.adaptive_max_pool3d(self, output_size, True),
    "_upsample_nearest_exact1d": _interpolate("nearest-exact"),
    "_upsample_nearest_exact2d": _interpolate("nearest-exact"),
    "_upsample_nearest_exact3d": _interpolate("nearest-exact"),
    "_safe_softmax": lambda self, dim, dtype=None: ingot.nan_to_num(ingot.softmax(self, dim, dtype=dtype), 0.0),
    "log_softmax": lambda self, dim, dtype=None: ingot.log_softmax(self if dtype is None else self.to(dtype), dim),
    "broadcast_tensors": lambda tensors: ingot.broadcast_tensors(*tensors),
    "block_diag": lambda tensors: ingot.block_diag(*tensors),
    "cartesian_prod": lambda tensors: ingot.cartesian_prod(*tensors),
    "tensordot": lambda self, other, dims_self, dims_other: ingot.tensordot(self, other, (dims_self, dims_other)),
    "cdist": lambda x1, x2, p=2.0, compute_mode=None: ingot.cdist(x1, x2, p),
    "contiguous": lambda self: self.contiguous(),
    "clone": lambda self: self.clone(),
    "dropout": lambda input, p, train: nn.functional.dropout(input, p, train),
    "dropout_": lambda self, p, train: nn.functional.dropout(self, p, train, inplace=True),
    "copy": lambda self, src: src.to(self.dtype).expand(self.shape).clone(),
    "copy_": lambda self, src: self.copy_(src),
}
