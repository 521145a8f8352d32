"""`from_torch`, and layers of `torch.nn` as the layers of `nn` with the same arguments."""

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .. import nn
from ..eager import Tensor
from ..eager.creation import empty
from ..eager.interop import from_dlpack
from ..eager.module import Module
from ..ir.dtypes import as_dtype

__all__ = ["copy_of", "from_torch"]


def from_torch(module: Any, example_inputs: Sequence[Any] | None = None, *, into: Module | None = None) -> Module:
    """An Ingot module that computes what a PyTorch module does, with a copy of its parameters and buffers.

    module: a `torch.nn.Module`, or a `torch.export.ExportedProgram` (made with dynamic shapes where sizes vary).
    example_inputs: positional inputs of a module, which `torch.export.export` follows: for modules with a `forward` of
    their own. Sizes of the inputs are then fixed; export the program yourself to leave them open.
    into: an Ingot module of the same architecture, whose parameters have the same names: it gets the weights.

    Without the two, layers of `torch.nn` and containers of them are rebuilt. TypeError for a class that is none of
    these, RuntimeError for parameters that do not fit and for an exported graph with unknown operators, all of which
    it names.

    >>> model = ingot.from_torch(torch.nn.Linear(3, 2))  # doctest: +SKIP
    >>> type(model)                                      # doctest: +SKIP
    <class 'ingot.nn.Linear'>
    """
    # The graph's operators are Ingot's public functions, of which this is one: they are imported when it is called.
    from .exported import ExportedModule

    if hasattr(module, "graph_signature"):
        return ExportedModule(module)
    if into is None and example_inputs is not None:
        export = sys.modules["torch"].export.export
        return ExportedModule(export(module, tuple(example_inputs)))
    made = _rebuild(module, "the module") if into is None else into
    state = {name: copy_of(value) for name, value in module.state_dict().items()}
    made.load_state_dict(state)
    return made.train(module.training)


def copy_of(value: Any) -> Tensor:
    """A copy of a PyTorch tensor."""
    value = value.detach().cpu().contiguous()
    if value.numel() == 0:
        return empty(tuple(value.shape), dtype=as_dtype(str(value.dtype).rpartition(".")[2]))
    return from_dlpack(value).clone()


def _rebuild(module: Any, where: str) -> Module:
    """The layer of `nn` with the same name and arguments."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.") or not hasattr(nn, kind.__name__):
        raise TypeError(
            f"from_torch: {where} is a {kind.__module__}.{kind.__qualname__}, which is no layer that Ingot has; give "
            "example_inputs= to follow it with torch.export, or into= with the same model written with ingot.nn"
        )
    own = getattr(nn, kind.__name__)
    if kind.__name__ in ("Sequential", "ModuleList"):
        children = [_rebuild(child, f"{where}.{name}") for name, child in module.named_children()]
        return own(*children) if kind.__name__ == "Sequential" else own(children)  # type: ignore[no-any-return]
    if kind.__name__ == "ModuleDict":
        return own({name: _rebuild(child, f"{where}.{name}") for name, child in module.named_children()})  # type: ignore[no-any-return]
    arguments = {}
    for name, parameter in inspect.signature(own.__init__).parameters.items():
        if name in ("self", "device", "dtype") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if (kind.__name__, name) in _ELSEWHERE:
            arguments[name] = _ELSEWHERE[kind.__name__, name](module)
        elif hasattr(module, name):
            arguments[name] = _argument(getattr(module, name), f"{where}.{name}")
        elif name in _IMPLIED:
            arguments[name] = _IMPLIED[name](module)
    return own(**arguments)  # type: ignore[no-any-return]


def _argument(value: Any, where: str) -> Any:
    """A constructor's argument from the attribute that it became."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return type(value)(_argument(item, where) for item in value)
    if hasattr(value, "requires_grad"):
        # `bias` and such are switches in constructors and tensors in modules; a loss's weight stays a tensor.
        return True if value.requires_grad or type(value).__name__ == "Parameter" else copy_of(value)
    if type(value).__name__ == "Dropout":
        return value.p
    if hasattr(value, "named_children"):
        return _rebuild(value, where)
    raise TypeError(f"from_torch: {where} is a {type(value).__name__}, which has no counterpart")


# Arguments that layers keep in a part of theirs, under another name or as another kind of thing.
_ELSEWHERE: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("MultiheadAttention", "bias"): lambda module: module.in_proj_bias is not None,
    ("TransformerEncoderLayer", "bias"): lambda module: module.linear1.bias is not None,
    ("TransformerDecoderLayer", "bias"): lambda module: module.linear1.bias is not None,
    ("TransformerEncoderLayer", "activation"): lambda module: module.activation.__name__,
    ("TransformerDecoderLayer", "activation"): lambda module: module.activation.__name__,
    ("Transformer", "dim_feedforward"): lambda module: module.encoder.layers[0].linear1.out_features,
    ("Transformer", "dropout"): lambda module: module.encoder.layers[0].dropout.p,
    ("Transformer", "activation"): lambda module: module.encoder.layers[0].activation.__name__,
    ("Transformer", "batch_first"): lambda module: module.encoder.layers[0].self_attn.batch_first,
    ("Transformer", "norm_first"): lambda module: module.encoder.layers[0].norm_first,
    ("Transformer", "layer_norm_eps"): lambda module: module.encoder.norm.eps,
    ("Transformer", "bias"): lambda module: module.encoder.norm.bias is not None,
}
_IMPLIED: dict[str, Callable[[Any], Any]] = {
    "d_model": lambda module: module.self_attn.embed_dim,
    "nhead": lambda module: module.self_attn.num_heads,
    "dim_feedforward": lambda module: module.linear1.out_features,
    "batch_first": lambda module: module.self_attn.batch_first,
    "layer_norm_eps": lambda module: module.norm1.eps,
    "add_bias_kv": lambda module: module.bias_k is not None,
    "num_encoder_layers": lambda module: len(module.encoder.layers),
    "num_decoder_layers": lambda module: len(module.decoder.layers),
    "encoder_layer": lambda module: _rebuild(module.layers[0], "layers.0"),
    "decoder_layer": lambda module: _rebuild(module.layers[0], "layers.0"),
}
