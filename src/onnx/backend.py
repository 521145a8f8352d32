"""The interface by which ONNX's own tests, and others, run models: `prepare`, `run_model`, `run_node`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnx.backend import base as _base

from ..eager.modes import no_grad
from ..eager.tensor import Tensor
from ..jit import executors
from .errors import OnnxError
from .importer import check_graph
from .model import OnnxModel, load, to_tensor
from .proto import onnx

__all__ = ["Backend", "PreparedModel", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class PreparedModel(_base.BackendRep):  # type: ignore[misc]  # the package has no types
    """A loaded model that takes and returns numpy arrays."""

    def __init__(self, model: OnnxModel, executor: str | None = None) -> None:
        self.model = model
        self.executor = executor

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """The outputs for arrays in the order of the model's inputs, or a dict of them by name."""
        with no_grad():
            if isinstance(inputs, dict):
                results = self._call((), {k: _given(v) for k, v in inputs.items()})
            else:
                inputs = (inputs,) if isinstance(inputs, np.ndarray) else inputs
                results = self._call(tuple(_given(v) for v in inputs), {})
        single = len(self.model.output_names) == 1
        return tuple(_array(r) for r in ((results,) if single else results))

    def _call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self.executor is None:
            return self.model(*arguments, **keywords)
        with executors.executor(self.executor):
            return self.model(*arguments, **keywords)


def _given(value: Any) -> Any:
    if value is None or (isinstance(value, np.ndarray) and value.dtype == object and value.item() is None):
        return None  # an optional value that is not there
    return [_given(v) for v in value] if isinstance(value, list) else to_tensor(value)


def _array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value._array
    return [_array(v) for v in value] if isinstance(value, (list, tuple)) else value


class Backend(_base.Backend):  # type: ignore[misc]  # the package has no types
    """Ingot as an ONNX backend."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **options: Any) -> bool:
        """Whether every operator of the model is supported."""
        try:
            check_graph(model, "model")
        except OnnxError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", executor: str | None = None, **options: Any) -> PreparedModel:
        """A model made ready to run; `executor` is one of Ingot's ("native", "python", "interpreter")."""
        if not cls.supports_device(device):
            raise OnnxError(f"the device {device!r} is not supported: expected 'CPU'")
        return PreparedModel(load(model), executor)

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str = "CPU", **options: Any) -> tuple[Any, ...]:
        """Prepare a model and run it once."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls, node: Any, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> tuple[Any, ...]:
        """Run one node on arrays; `opset_version` chooses the operator set (default: the newest)."""
        names = [n for n in node.input if n]
        types = [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(v).dtype), None)
            for n, v in zip(names, inputs, strict=True)
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(n) for n in node.output if n]
        version = options.pop("opset_version", onnx.defs.onnx_opset_version())
        graph = onnx.helper.make_graph([node], "node", types, outputs)
        opset = onnx.helper.make_opsetid(node.domain, version)
        return cls.run_model(onnx.helper.make_model(graph, opset_imports=[opset]), inputs, device, **options)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is supported: the CPU is."""
        return device.split(":")[0].upper() == "CPU"


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
