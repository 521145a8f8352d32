"""Saving and loading the state of a tree of modules."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .hooks import RemovableHandle
from .modes import no_grad
from .parameter import Parameter
from .tensor import Tensor, wrap

__all__ = ["IncompatibleKeys", "StatefulModule"]

EXTRA_STATE = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class _Report(list[str]):
    """Errors found so far, and the copies to make once there are none: a failed load changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Callable[[], None]] = []


class StatefulModule:
    """What a module does to save and load its state."""

    _version: int = 1
    # Of parameters, tensors and modules by name; None where a name is registered without one.
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent: set[str]
    # Hooks of saving and loading, made when the first one is registered.
    _state_dict_pre_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})
    _state_dict_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})
    _state_dict_post_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})
    _load_pre_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})
    _load_module_pre_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})
    _load_post_hooks: "Mapping[int, Callable[..., Any]]" = MappingProxyType({})

    # -- saving -------------------------------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> "OrderedDict[str, Any]":
        """Parameters and persistent buffers by dotted name; they share memory with the module.

        `keep_vars` gives the parameters themselves instead of tensors without history.
        """
        for name, value in zip(("destination", "prefix", "keep_vars"), args, strict=False):
            destination = value if name == "destination" else destination
            prefix = value if name == "prefix" else prefix
            keep_vars = value if name == "keep_vars" else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local
        for hook in list(self._state_dict_pre_hooks.values()):
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(self._state_dict_hooks.values()):
            changed = hook(self, destination, prefix, local)
            destination = destination if changed is None else changed
        for hook in list(self._state_dict_post_hooks.values()):
            if hook(self, destination, prefix, local) is not None:
                raise RuntimeError("state_dict post-hook must return None: change the state_dict in place")
        return destination  # type: ignore[no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this module's own entries into `destination`; override it to save something else."""
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._non_persistent:
                destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not StatefulModule.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """What the state dict holds for this module beside tensors; write it together with `set_extra_state`."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: write get_extra_state in the "
            "module that has extra state"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take over what `get_extra_state` gave."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: write set_extra_state in the "
            "module that has extra state"
        )

    # -- loading ------------------------------------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy a state into the module. RuntimeError lists missing, unexpected and misshapen entries all at once.

        `strict` False allows missing and unexpected keys and returns them; shapes must fit all the same. Nothing is
        copied where there is an error. `assign` puts the given tensors themselves in place, with their dtypes.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state: OrderedDict[str, Any] = OrderedDict(state_dict)
        missing: list[str] = []
        unexpected: list[str] = []
        report = _Report()
        result = IncompatibleKeys(missing, unexpected)

        def load(module: Any, entries: Any, prefix: str) -> None:
            local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            if assign:
                local["assign_to_params_buffers"] = True
            module._load_from_state_dict(entries, prefix, local, True, missing, unexpected, report)
            for name, child in module._modules.items():
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in entries.items() if k.startswith(inner)}, inner)
            for hook in list(module._load_post_hooks.values()):
                # A hook may look at the values: what fits is copied before it.
                for copy in report.pending if not report else ():
                    copy()
                report.pending.clear()
                if hook(module, result) is not None:
                    raise RuntimeError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not expected to return new "
                        "values, if incompatible_keys need to be modified, it should be done inplace."
                    )

        load(self, state, "")
        problems = list(report)
        if strict and unexpected:
            problems.insert(0, "Unexpected key(s) in state_dict: " + ", ".join(f'"{k}"' for k in unexpected) + ". ")
        if strict and missing:
            problems.insert(0, "Missing key(s) in state_dict: " + ", ".join(f'"{k}"' for k in missing) + ". ")
        if problems:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(problems))
        for copy in report.pending:
            copy()
        return result

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take this module's own entries from `state_dict`; override it to read older forms of a state."""
        arguments = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        for hook in list(self._load_pre_hooks.values()):
            hook(*arguments)
        for hook in list(self._load_module_pre_hooks.values()):
            hook(self, *arguments)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = {
            name: value
            for name, value in (*self._parameters.items(), *self._buffers.items())
            if value is not None and name not in self._non_persistent
        }
        pending: list[Callable[[], None]] = []
        for name, target in own.items():
            key = prefix + name
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            copy = self._copy_of(key, name, target, state_dict[key], assign, error_msgs)
            if copy is not None:
                pending.append(copy)
        has_extra = type(self).set_extra_state is not StatefulModule.set_extra_state
        extra = prefix + EXTRA_STATE
        if has_extra and extra in state_dict:
            value = state_dict[extra]
            pending.append(lambda: self.set_extra_state(value))
        elif has_extra and strict:
            missing_keys.append(extra)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and not (key == extra and has_extra):
                    first, dot, _ = key.removeprefix(prefix).partition(".")
                    if not (self._modules.get(first) is not None if dot else first in own):
                        unexpected_keys.append(key)
        if isinstance(error_msgs, _Report):
            error_msgs.pending += pending
        else:
            for copy in pending:
                copy()

    def _copy_of(
        self, key: str, name: str, target: Tensor, value: Any, assign: bool, error_msgs: list[str]
    ) -> Callable[[], None] | None:
        """What puts one entry in place; None, and a message, where it does not fit."""
        if not isinstance(value, (Tensor, np.ndarray, np.generic, int, float)):
            error_msgs.append(
                f'While copying the parameter named "{key}", expected a Tensor from checkpoint but received '
                f"{type(value)}"
            )
            return None
        source = value if isinstance(value, Tensor) else Tensor(value)
        lazy = hasattr(target, "materialize")
        if not lazy and target._array.ndim == 0 and source._array.shape == (1,):
            source = wrap(source._array.reshape(()))  # scalars were saved with one dimension once
        if not lazy and source._array.shape != target._array.shape:
            error_msgs.append(
                f"size mismatch for {key}: copying a param with shape {_shape(source)} from checkpoint, the shape in "
                f"current model is {_shape(target)}."
            )
            return None
        if assign and not lazy:
            return lambda: self._assign(name, target, source)

        def copy() -> None:
            with no_grad():
                if lazy:
                    target.materialize(source._array.shape)
                target.copy_(source)  # type: ignore[attr-defined]

        return copy

    def _assign(self, name: str, target: Tensor, source: Tensor) -> None:
        if isinstance(target, Parameter) and not isinstance(source, Parameter):
            source = Parameter(source, requires_grad=target.requires_grad)
        elif isinstance(target, Parameter):
            source.requires_grad_(target.requires_grad)
        setattr(self, name, source)

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _own_table(self, name: str) -> "dict[int, Callable[..., Any]]":
        return self.__dict__.setdefault(name, OrderedDict())  # type: ignore[no-any-return]

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's state is read."""
        return RemovableHandle(self._own_table("_state_dict_pre_hooks"), hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after this module's state was read."""
        return RemovableHandle(self._own_table("_state_dict_post_hooks"), hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return RemovableHandle(self._own_table("_state_dict_hooks"), hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing, unexpected, errors)` first."""
        return RemovableHandle(self._own_table("_load_module_pre_hooks"), hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return RemovableHandle(self._own_table("_load_module_pre_hooks" if with_module else "_load_pre_hooks"), hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the lists of keys."""
        return RemovableHandle(self._own_table("_load_post_hooks"), hook)


def _shape(tensor: Tensor) -> str:
    return f"ingot.Size({list(tensor._array.shape)})"
