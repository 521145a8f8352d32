"""The module whose functions compute with arrays of a simulated device, as `cupy` does with those of a real one."""

import math
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from ..ir.ops._common import register_special
from .cupy_names import MISSING, MISSING_LINALG, refuse_absent
from .simulator import ArrayCall, SimulatedArray, call_ufunc, copied

__all__ = ["SimulatedModule"]

# Functions that make arrays of the host's.
_FROM_HOST = frozenset({"array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray"})


class _Function:
    """A function of numpy's on arrays of a device."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.__name__ = function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_absent(self.__name__, kwargs)
        call = ArrayCall(self.__name__, takes_host=self.__name__ in _FROM_HOST)
        result = call.run(self._function, args, kwargs)
        if call.takes_host and not call.found and isinstance(result, SimulatedArray):
            if any(isinstance(a, np.ndarray) and np.may_share_memory(a, result._host) for a in args):
                result = copied(result)
            result.device.copied_in += result.nbytes
        return result


class _Ufunc(_Function):
    """A ufunc of numpy's, with those of its methods that cupy has."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) > self._function.nin:
            args, kwargs["out"] = args[: self._function.nin], args[self._function.nin]
        return call_ufunc(self._function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name not in ("accumulate", "at", "outer", "reduce", "reduceat"):
            value = getattr(self._function, name)
            if callable(value):
                raise AttributeError(name)
            return value
        method = getattr(self._function, name)
        return lambda *args, **kwargs: ArrayCall(self.__name__).run(method, args, kwargs)


class SimulatedModule:
    """A module of numpy's whose functions compute with arrays of a device, as those of the module `cupy`."""

    _made: ClassVar[dict[str, "SimulatedModule"]] = {}

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    @classmethod
    def of(cls, module: ModuleType) -> "SimulatedModule":
        """The one module of that name."""
        found = cls._made.get(module.__name__)
        if found is None:
            found = cls._made[module.__name__] = cls(module)
        return found

    def __repr__(self) -> str:
        return f"<{self._module.__name__} of the simulated device>"

    def __getattr__(self, name: str) -> Any:
        missing = MISSING_LINALG if self._module.__name__ == "numpy.linalg" else MISSING
        if name.startswith("_") or name in missing:
            raise AttributeError(f"module {self._module.__name__!r} of the device has no attribute {name!r}")
        value = SimulatedArray if name == "ndarray" else getattr(self._module, name)
        if isinstance(value, np.ufunc):
            value = _Ufunc(value)
        elif isinstance(value, ModuleType):
            value = SimulatedModule.of(value)
        elif callable(value) and not isinstance(value, type):
            value = _Function(value)
        setattr(self, name, value)
        return value


class SpecialFunctions:
    """The functions of `cupyx.scipy.special` that records use, on arrays of a simulated device."""

    def __getattr__(self, name: str) -> Any:
        function = np.vectorize({"erf": math.erf, "erfc": math.erfc, "gammaln": _gammaln}[name], otypes=[float])
        return lambda x: ArrayCall(name).run(function, (x,), {})


def _gammaln(x: float) -> float:
    return math.inf if math.isinf(x) or (x <= 0 and x == math.floor(x)) else math.lgamma(x)


register_special(SimulatedArray, SpecialFunctions())
