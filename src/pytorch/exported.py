"""The graph of a `torch.export.ExportedProgram` as a module, run step by step with Ingot's functions."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import namespace, nn
from ..eager import no_grad
from ..eager.module import Module
from ..ir.dtypes import DType
from .aten import CHECKS, IGNORED, function_of, name_of
from .layers import copy_of

__all__ = ["ExportedModule"]


class _Reference:
    """The result of an earlier step, or an input, by name."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Leaf:
    """The place of a number of a flat list in a nested structure."""

    def __init__(self, index: int) -> None:
        self.index = index


class ExportedModule(Module):
    """The graph of a `torch.export.ExportedProgram`, run step by step with Ingot's functions; trace it to compile it.

    RuntimeError names every operator of the graph that has no counterpart.
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        signature = program.graph_signature
        self._values: dict[
            str, str
        ] = {}  # placeholders that are parameters, buffers or constants, and their attributes
        self._inputs: list[str] = []
        self._steps: list[tuple[str, Callable[..., Any], Any, Any]] = []
        state = {**program.state_dict, **program.constants}
        for spec in signature.input_specs:
            if spec.kind.name in ("USER_INPUT",):
                self._inputs.append(spec.arg.name)
                continue
            attribute = f"value_{len(self._values)}"
            self._values[spec.arg.name] = attribute
            value = state[spec.target]
            if spec.kind.name == "PARAMETER":
                parameter = nn.Parameter(copy_of(value), requires_grad=value.requires_grad)
                self.register_parameter(attribute, parameter)
            elif hasattr(value, "detach"):
                self.register_buffer(attribute, copy_of(value))
            else:
                raise RuntimeError(
                    f"from_torch: the constant {spec.target} is a {type(value).__name__}, expected a tensor"
                )
        unknown: list[str] = []
        for node in program.graph.nodes:
            if node.op == "call_function" and name_of(node.target) not in CHECKS:
                try:
                    call = function_of(node.target)
                except KeyError as error:
                    unknown.append(f"{error.args[0]} ({node.name})")
                    continue
                arguments, keywords = _plain(node.args), _plain(dict(node.kwargs))
                self._steps.append((node.name, call, arguments, keywords))
            elif node.op == "output":
                results = _plain(node.args[0])
            elif node.op not in ("placeholder", "call_function"):
                unknown.append(f"{node.op} {node.target} ({node.name})")
        if unknown:
            raise RuntimeError(f"from_torch: no counterpart for {', '.join(unknown)}")
        users = [spec.kind.name == "USER_OUTPUT" for spec in signature.output_specs]
        self._outputs = [value for value, is_user in zip(results, users, strict=True) if is_user]
        self._updates = [
            (value, spec)
            for value, spec in zip(results, signature.output_specs, strict=True)
            if spec.kind.name != "USER_OUTPUT"
        ]
        self._updates = [(value, self._attribute_of(signature, spec)) for value, spec in self._updates]
        unflatten = sys.modules["torch"].utils._pytree.tree_unflatten
        self._given = unflatten([_Leaf(i) for i in range(len(self._inputs))], program.call_spec.in_spec)
        self._returned = unflatten([_Leaf(i) for i in range(len(self._outputs))], program.call_spec.out_spec)
        self.train(False)

    def _attribute_of(self, signature: Any, spec: Any) -> str:
        """The buffer that an output of the graph is the new value of."""
        if spec.kind.name != "BUFFER_MUTATION":
            raise RuntimeError(f"from_torch: the graph returns a {spec.kind.name}, which has no counterpart")
        (name,) = (one.arg.name for one in signature.input_specs if one.target == spec.target)
        return self._values[name]

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """The program's results for inputs of the structure that it was exported with."""
        leaves: dict[int, Any] = {}
        _match(self._given, (arguments, keywords), leaves, "the inputs")
        results = {name: getattr(self, attribute) for name, attribute in self._values.items()}
        results.update((name, leaves[index]) for index, name in enumerate(self._inputs))
        for name, call, given, named in self._steps:
            results[name] = call(*_filled(given, results), **_filled(named, results))
        for value, attribute in self._updates:
            with no_grad():
                getattr(self, attribute).copy_(_filled(value, results))
        outputs = [_filled(value, results) for value in self._outputs]
        return _placed(self._returned, outputs)


def _plain(value: Any) -> Any:
    """An argument of a graph's node without PyTorch's objects."""
    if hasattr(value, "op") and hasattr(value, "users"):
        return _Reference(value.name)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value] if isinstance(value, list) else tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if key not in IGNORED}
    if type(value).__module__.partition(".")[0] == "torch":
        name = str(value).rpartition(".")[2]
        return getattr(namespace, name) if isinstance(getattr(namespace, name, None), DType) else None
    return value


def _filled(value: Any, results: Mapping[str, Any]) -> Any:
    if isinstance(value, _Reference):
        return results[value.name]
    if isinstance(value, list):
        return [_filled(item, results) for item in value]
    if isinstance(value, tuple):
        return tuple(_filled(item, results) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, results) for key, item in value.items()}
    return value


def _match(template: Any, given: Any, leaves: dict[int, Any], where: str) -> None:
    """Take the leaves of `given` apart as the template says."""
    if isinstance(template, _Leaf):
        leaves[template.index] = given
    elif isinstance(template, Mapping):
        if not isinstance(given, Mapping) or given.keys() != template.keys():
            raise TypeError(f"{where} are {_outline(given)}, expected {_outline(template)}")
        for key, item in template.items():
            _match(item, given[key], leaves, f"{where}[{key!r}]")
    elif isinstance(template, tuple | list):
        if not isinstance(given, tuple | list) or len(given) != len(template):
            raise TypeError(f"{where} are {_outline(given)}, expected {_outline(template)}")
        for index, (item, one) in enumerate(zip(template, given, strict=True)):
            _match(item, one, leaves, f"{where}[{index}]")
    elif given != template:
        raise TypeError(f"{where} is {given!r}, expected {template!r}, with which the program was exported")


def _outline(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _placed(template: Any, leaves: Sequence[Any]) -> Any:
    if isinstance(template, _Leaf):
        return leaves[template.index]
    if isinstance(template, Mapping):
        return {key: _placed(item, leaves) for key, item in template.items()}
    if isinstance(template, tuple) and hasattr(template, "_fields"):
        return type(template)(*(_placed(item, leaves) for item in template))
    if isinstance(template, tuple | list):
        return type(template)(_placed(item, leaves) for item in template)
    return template
