"""The base of all layers and models: a tree of modules with parameters, buffers, hooks and a state."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from ..ir.dtypes import DType, as_dtype
from . import modes
from .creation import empty_like
from .device import as_device
from .module_hooks import HookedModule
from .module_state import IncompatibleKeys, StatefulModule
from .parameter import Buffer, Parameter
from .tensor import Tensor

__all__ = ["IncompatibleKeys", "Module"]


class Module(HookedModule, StatefulModule):
    """A layer or model: assign parameters, buffers and other modules to attributes, and write `forward`.

    >>> class Twice(ingot.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = ingot.nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.linear(self.linear(x))
    >>> Twice()(ingot.ones(2, 3)).shape
    ingot.Size([2, 3])
    """

    training: bool

    # Whether __init__ passes what it is given on to the next class, for modules that have other bases too.
    call_super_init: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and (args or kwargs):
            if args:
                message = f"takes 1 positional argument but {len(args) + 1} were given"
            else:
                message = f"got an unexpected keyword argument '{next(iter(kwargs))}'"
            raise TypeError(f"{type(self).__name__}.__init__() {message}")
        # Through __dict__: __setattr__ needs these to exist.
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _non_persistent=set())
        self._init_hooks()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    # -- attributes ---------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        parameters, buffers, modules = own.get("_parameters"), own.get("_buffers"), own.get("_modules")
        if parameters is None or buffers is None or modules is None:
            for kind, what in ((Parameter, "parameters"), (Buffer, "buffer"), (Module, "module")):
                if isinstance(value, kind):
                    raise AttributeError(f"cannot assign {what} before Module.__init__() call")
            object.__setattr__(self, name, value)
        elif isinstance(value, Parameter):
            if name not in parameters:
                self._forget(name)
            self.register_parameter(name, value)
        elif name in parameters:
            self._require_kind(name, value, None, "parameter", "nn.Parameter")
            parameters[name] = None
        elif isinstance(value, Module):
            if name not in modules:
                self._forget(name)
            modules[name] = value
        elif name in modules:
            self._require_kind(name, value, None, "child module", "nn.Module")
            modules[name] = None
        elif isinstance(value, Buffer):
            if name not in buffers:
                self._forget(name)
            self.register_buffer(name, value, persistent=value.persistent)
        elif name in buffers:
            self._require_kind(name, value, Tensor, "buffer", "Tensor")
            buffers[name] = value
        else:
            object.__setattr__(self, name, value)

    def _require_kind(self, name: str, value: Any, kind: type | None, what: str, expected: str) -> None:
        if value is not None and (kind is None or not isinstance(value, kind)):
            raise TypeError(f"cannot assign '{type(value).__name__}' as {what} '{name}' ({expected} or None expected)")

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _forget(self, name: str) -> None:
        self.__dict__.pop(name, None)
        for table in (self._parameters, self._buffers, self._modules):
            table.pop(name, None)
        self._non_persistent.discard(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; KeyError for a name that is taken or has a dot."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' (nn.Parameter or None required)"
            )
        if param is not None and param._node is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: state that is not learnt; `persistent` False leaves it out of the state dict."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)"
            )
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent.discard(name)
        else:
            self._non_persistent.add(name)

    def add_module(self, name: str, module: "Module | None") -> None:
        """Add a submodule; KeyError for a name that is taken or has a dot."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = module

    def register_module(self, name: str, module: "Module | None") -> None:
        """Add a submodule: another name of `add_module`."""
        self.add_module(name, module)

    def _check_name(self, what: str, name: str, table: Mapping[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."; given {name!r}')
        if not name:
            raise KeyError(f'{what} name can\'t be empty string ""')
        if name not in table and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    # -- the tree -----------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Direct submodules with their names, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator["Module"]:
        """Direct submodules."""
        return (m for _, m in self.named_children())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, "Module"]]:
        """This module and every one below it with dotted names, each once."""
        memo = set() if memo is None else memo
        if remove_duplicate and id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator["Module"]:
        """This module and every one below it."""
        return (m for _, m in self.named_modules())

    def _named_members(self, table: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[Any]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in module.__dict__[table].items():
                if value is None or (remove_duplicate and id(value) in seen):
                    continue
                seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names; a shared one comes once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, for an optimiser."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> "Module":
        """The submodule of a dotted name; AttributeError where there is none."""
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: "Module", strict: bool = False) -> None:
        """Put a module at a dotted name; with `strict`, only in the place of another one."""
        if not target:
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name; AttributeError where there is none."""
        return self._get_member(target, Parameter, "_parameters", "an nn.Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name; AttributeError where there is none."""
        return self._get_member(target, Tensor, "_buffers", "a buffer")  # type: ignore[no-any-return]

    def _get_member(self, target: str, kind: type, table: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        value = getattr(module, name)
        if not isinstance(value, kind) or (table == "_buffers" and name not in module._buffers):
            raise AttributeError(f"`{name}` is not {what}")
        return value

    def apply(self, fn: Callable[["Module"], Any]) -> Self:
        """Call `fn` on every module below and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- modes and conversion -----------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout and batch norm behave by it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether parameters are learnt."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients of all parameters."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad = p.grad.detach()  # type: ignore[attr-defined]
                p.grad.zero_()  # type: ignore[attr-defined]

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        """Replace the data of every parameter, of its gradient and of every buffer by what `fn` makes of it."""
        if recurse:
            for child in self.children():
                child._apply(fn)
        for p in self._parameters.values():
            if p is not None:
                p._array = fn(p.detach())._array  # type: ignore[attr-defined]
                if p._grad is not None:
                    p._grad = fn(p._grad.detach())  # type: ignore[attr-defined]
        for name, b in self._buffers.items():
            if b is not None:
                converted = fn(b.detach())  # type: ignore[attr-defined]
                if converted._array is not b._array:
                    self._buffers[name] = converted
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Convert floating-point parameters and buffers to a dtype, and move all to a device, in place; returns the
        module."""
        dtype: DType | None = None
        place: Any = None
        for a in (*args, *kwargs.values()):
            if isinstance(a, DType):
                dtype = a
            elif isinstance(a, Tensor):
                dtype, place = a.dtype, a.device
            elif not isinstance(a, bool) and a is not None and "format" not in type(a).__name__:
                place = as_device(a)
        if place is not None and (modes.devices or place.type != "cpu"):
            self._apply(lambda t: t.to(place))
        if dtype is None:
            return self
        if not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )
        return self._apply(lambda t: t.to(dtype) if t.dtype.is_floating_point or t.dtype.is_complex else t)

    def type(self, dst_type: Any) -> Self:
        """Convert all parameters and buffers to a dtype, in place."""
        dtype = as_dtype(dst_type)
        return self._apply(lambda t: t.to(dtype))

    def _to_floating(self, name: str) -> Self:
        dtype = as_dtype(name)
        return self._apply(lambda t: t.to(dtype) if t.dtype.is_floating_point else t)

    def float(self) -> Self:
        """Parameters and buffers as float32."""
        return self._to_floating("float32")

    def double(self) -> Self:
        """Parameters and buffers as float64."""
        return self._to_floating("float64")

    def half(self) -> Self:
        """Parameters and buffers as float16."""
        return self._to_floating("float16")

    def bfloat16(self) -> Self:
        """Parameters and buffers as bfloat16."""
        return self._to_floating("bfloat16")

    def cpu(self) -> Self:
        """Move parameters and buffers to the CPU, in place; returns the module."""
        return self._apply(lambda t: t.cpu()) if modes.devices else self

    def cuda(self, device: Any = None) -> Self:
        """Move parameters and buffers to a GPU, in place; returns the module."""
        place = as_device("cuda" if device is None else device)
        return self._apply(lambda t: t.cuda(place))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Give parameters and buffers new memory without values on a device."""
        place = as_device(device)
        return self._apply(lambda t: empty_like(t, device=place), recurse)

    # -- text ---------------------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows in the parentheses."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(m).replace("\n", "\n  ") for name, m in self._modules.items()]
        extra = self.extra_repr()
        if not lines and "\n" not in extra:
            return f"{self._get_name()}({extra})"
        body = "\n  ".join([*(extra.split("\n") if extra else []), *lines])
        return f"{self._get_name()}(\n  {body}\n)"
