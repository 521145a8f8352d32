"""The base of optimisers: parameter groups, state, hooks, and saving and loading both."""

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..eager.device import device_of, host_array, move_array
from ..eager.hooks import RemovableHandle
from ..eager.modes import current_mode, enable_grad, no_grad
from ..eager.tensor import Tensor, wrap

__all__ = ["Optimizer", "require_betas", "require_not_both", "required_non_negative"]


def required_non_negative(**values: Any) -> None:
    """ValueError for a hyper-parameter below 0, or a learning rate that is a tensor of several elements."""
    for name, value in values.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element")
        if not value >= 0.0:
            raise ValueError(f"Invalid {name} value: {value}: expected a number >= 0")


def require_betas(betas: Any, foreach: bool | None = None, capturable: bool = False) -> None:
    """ValueError for a decay rate that is not from 0 to below 1, and for only one that is a tensor."""
    if isinstance(betas[0], Tensor) is not isinstance(betas[1], Tensor):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor) and foreach and not capturable:
            raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
        if isinstance(beta, Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}: expected a number from 0 to below 1")


def require_not_both(differentiable: bool, foreach: bool | None, fused: bool | None) -> None:
    """RuntimeError for options that exclude each other."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


class _State(dict[str, Any]):
    """The state of one parameter. A tensor that is put in while a trace watches is there at the next call, too."""

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and value is not self.get(name) and (mode := current_mode()) is not None:
            mode.keeps(value)
        super().__setitem__(name, value)

    def update(self, *arguments: Any, **entries: Any) -> None:
        for name, value in dict(*arguments, **entries).items():
            self[name] = value


class _States(defaultdict[Tensor, dict[str, Any]]):
    """The states of all parameters."""

    def __init__(self) -> None:
        super().__init__(_State)

    def __setitem__(self, p: Tensor, state: dict[str, Any]) -> None:
        if not isinstance(state, _State):
            entries, state = state, _State()
            state.update(entries)
        super().__setitem__(p, state)

    def __reduce__(self) -> Any:
        return _states, (dict(self),)


def _states(entries: dict[Tensor, dict[str, Any]]) -> "_States":
    states = _States()
    for p, state in entries.items():
        states[p] = state
    return states


class Optimizer:
    """Updates parameters from their gradients; subclasses write `update(parameters, group)` or `step`.

    params: tensors, pairs of name and tensor, or dictionaries (groups) with "params" and options of their own.
    """

    # Whether `step` was ever called: schedules say so if not.
    has_stepped = False

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = _States()
        self.param_groups: list[dict[str, Any]] = []
        self._hooks: dict[str, OrderedDict[int, Callable[..., Any]]] = defaultdict(OrderedDict)
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:  # a step of a class runs the hooks, whoever wrote it
            cls.step = _with_hooks(cls.__dict__["step"])  # type: ignore[method-assign]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; ValueError for one that is in a group already."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = list(params)
        named = [isinstance(p, tuple) for p in params]
        group = {**param_group, "params": params}
        if any(named):
            if not all(named):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
            group["params"] = params = [p for _, p in (pair for pair in params)]
            group["param_names"] = [name for name, _ in param_group["params"]]
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group without names"
            )
        known = {id(p) for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not self.defaults.get("differentiable") and not (p.is_leaf or p._retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=3,
            )
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad = p.grad.detach()
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` recomputes and returns the loss first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        differentiable = any(group.get("differentiable") for group in self.param_groups)
        with enable_grad() if differentiable else no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                self.update(params, group if (mode := current_mode()) is None else mode.options(group))
        return loss

    def update(self, params: list[Any], group: dict[str, Any]) -> None:
        """Update these parameters (all have gradients) by the options of their group."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it updates parameters")

    # -- hooks --------------------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new (args, kwargs)."""
        return RemovableHandle(self._hooks["step_pre"], hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return RemovableHandle(self._hooks["step_post"], hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return self._register("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; it may return another one."""
        return self._register("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another one."""
        return self._register("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._register("load_post", hook, prepend)

    def _register(self, kind: str, hook: Callable[..., Any], prepend: bool) -> RemovableHandle:
        handle = RemovableHandle(self._hooks[kind], hook)
        if prepend:
            self._hooks[kind].move_to_end(handle.id, last=False)
        return handle

    def _hooks_of(self, kind: str) -> list[Callable[..., Any]]:
        hooks = self.__dict__.get("_hooks")
        return list(hooks[kind].values()) if hooks and kind in hooks else []

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Options and state with parameters numbered in order."""
        for hook in self._hooks_of("state_dict_pre"):
            hook(self)
        index = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        result = {
            "state": {index[id(p)] if isinstance(p, Tensor) else p: s for p, s in self.state.items()},
            "param_groups": [
                {**{k: v for k, v in g.items() if k != "params"}, "params": [index[id(p)] for p in g["params"]]}
                for g in self.param_groups
            ],
        }
        for hook in self._hooks_of("state_dict_post"):
            changed = hook(self, result)
            result = result if changed is None else changed
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over options and state; ValueError where the groups do not have the same sizes.

        State of floating point takes its parameter's dtype, but for step counts.
        """
        for hook in self._hooks_of("load_pre"):
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for own, saved in zip(self.param_groups, groups, strict=True):
            if len(own["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
        numbered = {
            number: p
            for own, saved in zip(self.param_groups, groups, strict=True)
            for number, p in zip(saved["params"], own["params"], strict=True)
        }
        for own, saved in zip(self.param_groups, groups, strict=True):
            names = own.get("param_names")
            own.update({k: v for k, v in saved.items() if k != "params"})
            if names is None:
                own.pop("param_names", None)
            else:
                own["param_names"] = names
        self.state.clear()
        for number, entries in state_dict["state"].items():
            p = numbered.get(int(number) if isinstance(number, str) and number.isdigit() else number)
            if p is None:
                self.state[number] = _taken(entries, None, "")
            else:
                self.state[p] = {k: _taken(v, p, k) for k, v in entries.items()}
        for hook in self._hooks_of("load_post"):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("defaults", "state", "param_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_hooks", defaultdict(OrderedDict))
        for name, default in self.defaults.items():
            for group in self.param_groups:
                group.setdefault(name, default)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
            lines.append("")
        return "\n".join([*lines[:-1], ")"])


def _taken(value: Any, p: Any, name: str) -> Any:
    """A copy of a saved value, for an entry of this parameter's state."""
    if isinstance(value, Tensor):
        # Step counts stay where they were: on the CPU, as a rule.
        place = device_of(value._array if p is None or name == "step" else p._array)
        array = np.array(host_array(value._array))
        if p is not None and name != "step" and p.dtype.is_floating_point:
            array = array.astype(p._array.dtype, copy=False)
        return wrap(move_array(array, place))
    if isinstance(value, dict):
        return {k: _taken(v, p, name) for k, v in value.items()}
    if isinstance(value, list):
        return [_taken(v, p, name) for v in value]
    return value


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    if getattr(step, "runs_hooks", False):
        return step

    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self.has_stepped = True
        hooks = self.__dict__.get("_hooks")
        if not hooks:
            return step(self, *args, **kwargs)
        for hook in self._hooks_of("step_pre"):
            replaced = hook(self, args, kwargs)
            if replaced is not None:
                if not isinstance(replaced, tuple) or len(replaced) != 2:
                    raise RuntimeError(
                        f"{type(self).__name__}.step: a pre-hook must return None or (new_args, new_kwargs), but got "
                        f"{replaced}."
                    )
                args, kwargs = replaced
        result = step(self, *args, **kwargs)
        for hook in self._hooks_of("step_post"):
            hook(self, args, kwargs)
        return result

    hooked.runs_hooks = True  # type: ignore[attr-defined]
    hooked.__doc__ = step.__doc__
    hooked.__name__ = step.__name__
    hooked.__qualname__ = step.__qualname__
    return hooked


Optimizer.step = _with_hooks(Optimizer.step)  # type: ignore[method-assign]
