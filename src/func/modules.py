"""Modules as functions of their parameters: called with others, and several with theirs stacked."""

from collections.abc import Sequence
from typing import Any

from ..eager.functions import call as _call
from ..eager.module import Module

__all__ = ["functional_call", "stack_module_state"]


def functional_call(module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: Any = None) -> Any:
    """Call a module with other tensors in the place of its parameters and buffers, given by name.

    >>> layer = ingot.nn.Linear(1, 1)
    >>> names = {"weight": ingot.ones(1, 1), "bias": ingot.zeros(1)}
    >>> ingot.func.functional_call(layer, names, (ingot.ones(1),))
    tensor([1.])
    """
    given = parameter_and_buffer_dicts
    merged = {k: v for d in (given if isinstance(given, (tuple, list)) else [given]) for k, v in d.items()}
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for path, tensor in merged.items():
            *parents, name = path.split(".")
            owner: Any = module
            for parent in parents:
                owner = getattr(owner, parent)
            table = next((t for t in (owner._parameters, owner._buffers) if name in t), None)
            if table is None:
                raise KeyError(f"functional_call: the module has no parameter or buffer named {path!r}")
            replaced.append((table, name, table[name]))
            table[name] = tensor
        positional = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*positional, **(kwargs or {}))
    finally:
        for table, name, tensor in reversed(replaced):
            table[name] = tensor


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of modules of one kind, each stacked along a new first dimension, for `vmap`.

    RuntimeError where the list is empty, the modules are of different classes, or some train and others do not.

    >>> models = [ingot.nn.Linear(2, 3) for _ in range(4)]
    >>> parameters, buffers = ingot.func.stack_module_state(models)
    >>> parameters["weight"].shape
    ingot.Size([4, 3, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(model.training != models[0].training for model in models):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    stacked = {}
    for name, first in parameters[0].items():
        column = [p[name] for p in parameters]
        if any(p.requires_grad != first.requires_grad for p in column):
            raise RuntimeError(
                f"stack_module_state: expected {name!r} of all models to have the same requires_grad, got some of both"
            )
        stacked[name] = _call("stack", [p.detach() for p in column], 0).requires_grad_(first.requires_grad)
    return stacked, {name: _call("stack", [b[name] for b in buffers], 0) for name in buffers[0]}
