"""Recurrent layers, RNN, LSTM and GRU, with layers, directions, dropout and packed sequences; and their cells."""

import math
import warnings
from collections.abc import Callable
from typing import Any

from ..eager.creation import empty
from ..eager.functions import call as _call
from ..eager.scripting import is_scripting
from ..eager.tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_State = tuple[Any, ...]


def _rnn_tanh(x: Any, state: _State, weight: Any, bias: Any) -> _State:
    return ((x + F.linear(state[0], weight, bias)).tanh(),)


def _rnn_relu(x: Any, state: _State, weight: Any, bias: Any) -> _State:
    return ((x + F.linear(state[0], weight, bias)).relu(),)


def _lstm(x: Any, state: _State, weight: Any, bias: Any) -> _State:
    """One step of Hochreiter and Schmidhuber (1997) with forget gates (Gers et al., 2000)."""
    i, f, g, o = (x + F.linear(state[0], weight, bias)).chunk(4, 1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Any, state: _State, weight: Any, bias: Any) -> _State:
    """One step of Cho et al. (2014), with the reset gate applied after the product, as PyTorch and cuDNN do."""
    xr, xz, xn = x.chunk(3, 1)
    hr, hz, hn = F.linear(state[0], weight, bias).chunk(3, 1)
    z = (xz + hz).sigmoid()
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    return (n + z * (state[0] - n),)


_STEPS: dict[str, Callable[[Any, _State, Any, Any], _State]] = {
    "RNN_TANH": _rnn_tanh,
    "RNN_RELU": _rnn_relu,
    "LSTM": _lstm,
    "GRU": _gru,
}
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class RNNBase(Module):
    """What RNN, LSTM and GRU share; `mode` is RNN_TANH, RNN_RELU, LSTM or GRU."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        if not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1 or isinstance(dropout, bool):
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        for name, value, kind in (
            ("hidden_size", hidden_size, int),
            ("bias", bias, bool),
            ("batch_first", batch_first, bool),
        ):
            if not isinstance(value, kind):
                raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size <= 0:
                raise ValueError(f"{name} must be greater than zero, given {size}")
        if proj_size < 0 or proj_size >= hidden_size:
            raise ValueError(f"proj_size has to be from 0 to below hidden_size, given {proj_size} and {hidden_size}")
        if proj_size and mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout is applied after all but the last recurrent layer: dropout={dropout} does nothing where "
                f"num_layers=1",
                stacklevel=3,
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.bias = bias
        gates = _GATES[mode] * hidden_size
        output = proj_size or hidden_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else output * directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, inputs), "weight_hh": (gates, output)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    self.register_parameter(name + suffix, Parameter(empty(*shape, dtype=dtype, device=device)))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"_l{layer}", f"_l{layer}_reverse") if self.bidirectional else (f"_l{layer}",)

    def reset_parameters(self) -> None:
        """Draw new weights."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: there is no other layout of the weights here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters by layer and direction."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [
            [self._parameters[n + suffix] for n in names if n + suffix in self._parameters]
            for layer in range(self.num_layers)
            for suffix in self._suffixes(layer)
        ]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Outputs of the last layer at every step, and the last states of all layers."""
        if isinstance(input, PackedSequence):
            data, sizes = input.data, [int(n) for n in input.batch_sizes.tolist()]
            batch, batched = sizes[0], True
            hx = self._reordered(hx, input.sorted_indices)
        else:
            if input.ndim not in (2, 3):
                raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.ndim}D instead")
            batched = input.ndim == 3
            steps = input if batched else input.unsqueeze(1)
            steps = steps.transpose(0, 1) if batched and self.batch_first else steps
            if steps.shape[0] == 0:
                raise RuntimeError(f"{type(self).__name__}: expected sequence length to be larger than 0")
            batch = steps.shape[1]
            data = steps.reshape(-1, steps.shape[2])
            # Compiled, it is the number of steps that counts: all have as many rows.
            sizes = range(steps.shape[0]) if is_scripting() else [batch] * steps.shape[0]  # type: ignore[assignment]
        if data.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {data.shape[-1]}"
            )
        kind = self.weight_ih_l0.dtype
        if data.dtype is not kind:
            raise ValueError(
                f"{type(self).__name__} input dtype ({data.dtype}) does not match weight dtype ({kind}). Convert "
                f"input: input.to({kind}), or convert model: model.to({data.dtype})"
            )
        first = self._first_states(hx, batch, batched, data)
        data, last = self._run_layers(data, sizes, first)
        if isinstance(input, PackedSequence):
            back = input.unsorted_indices
            output: Any = PackedSequence(data, input.batch_sizes, input.sorted_indices, back)
            states = tuple(s if back is None else s.index_select(1, back) for s in last)
        else:
            output = data.reshape(len(sizes), batch, data.shape[-1])
            if not batched:
                output = output.squeeze(1)
            elif self.batch_first:
                output = output.transpose(0, 1)
            states = last if batched else tuple(s.squeeze(1) for s in last)
        return output, (states if self.mode == "LSTM" else states[0])

    def _reordered(self, hx: Any, order: Any) -> Any:
        if hx is None or order is None:
            return hx
        if isinstance(hx, tuple):
            return tuple(h.index_select(1, order) for h in hx)
        return hx.index_select(1, order)

    def _first_states(self, hx: Any, batch: int, batched: bool, like: Any) -> _State:
        """The states (layers * directions, batch, size) to start with: zeros where none are given."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)[: 2 if self.mode == "LSTM" else 1]
        if hx is None:
            return tuple(like.new_zeros((count, batch, n)) for n in sizes)
        given = tuple(hx) if self.mode == "LSTM" else (hx,)
        if len(given) != len(sizes):
            raise RuntimeError(f"LSTM: expected hx to be (h_0, c_0), given {len(given)} tensors")
        states = []
        for state, n in zip(given, sizes, strict=True):
            if state.ndim != (3 if batched else 2):
                raise RuntimeError(
                    f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also be "
                    f"{'3-D' if batched else '2-D'} but got {state.ndim}-D tensor"
                )
            state = state if batched else state.unsqueeze(1)
            if tuple(state.shape) != (count, batch, n):
                raise RuntimeError(f"Expected hidden size {(count, batch, n)}, got {list(state.shape)}")
            states.append(state)
        return tuple(states)

    def _run_layers(self, data: Any, sizes: list[int], first: _State) -> tuple[Any, _State]:
        directions = 2 if self.bidirectional else 1
        last: list[_State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                at = layer * directions + direction
                output, state = self._run(data, sizes, tuple(s[at] for s in first), suffix, direction == 1)
                outputs.append(output)
                last.append(state)
            data = outputs[0] if directions == 1 else _call("cat", outputs, 1)
            if layer < self.num_layers - 1 and self.dropout:
                data = F.dropout(data, self.dropout, self.training)
        return data, tuple(_call("stack", parts, 0) for parts in zip(*last, strict=True))

    def _run(self, data: Any, sizes: list[int], first: _State, suffix: str, reverse: bool) -> tuple[Any, _State]:
        """One direction of one layer; step t has sizes[t] rows, which never grow: longer sequences come first."""
        if is_scripting():  # only packed sequences differ in their sizes, and those are not scripted
            return self._run_evenly(data, len(sizes), first, suffix, reverse)
        get = self._parameters.get
        weight, bias, project = get("weight_hh" + suffix), get("bias_hh" + suffix), get("weight_hr" + suffix)
        step = _STEPS[self.mode]
        inputs = F.linear(data, get("weight_ih" + suffix), get("bias_ih" + suffix)).split(sizes)
        outputs, ended = [], []
        rows = sizes[-1] if reverse else sizes[0]
        state = tuple(s[:rows] for s in first) if rows != first[0].shape[0] else first
        for x, size in (
            zip(reversed(inputs), reversed(sizes), strict=True) if reverse else zip(inputs, sizes, strict=True)
        ):
            if size > rows:  # sequences of this length start here, at their ends
                state = tuple(_call("cat", [s, f[rows:size]], 0) for s, f in zip(state, first, strict=True))
            elif size < rows:
                ended.append(tuple(s[size:] for s in state))
                state = tuple(s[:size] for s in state)
            rows = size
            state = step(x, state, weight, bias)
            if project is not None:
                state = (F.linear(state[0], project), *state[1:])
            outputs.append(state[0])
        if reverse:
            outputs.reverse()
        for parts in reversed(ended):
            state = tuple(_call("cat", [s, e], 0) for s, e in zip(state, parts, strict=True))
        return _call("cat", outputs, 0), state

    def _run_evenly(self, data: Any, steps: int, first: _State, suffix: str, reverse: bool) -> tuple[Any, _State]:
        """`_run` where all steps have as many rows, as one loop: the product with the inputs comes before it."""
        get = self._parameters.get
        weight: Any = get("weight_hh" + suffix)
        bias, project = get("bias_hh" + suffix), get("weight_hr" + suffix)
        step = _STEPS[self.mode]
        batch = first[0].shape[0]
        inputs = F.linear(data, get("weight_ih" + suffix), get("bias_ih" + suffix)).reshape(
            steps, batch, weight.shape[0]
        )
        outputs = inputs.new_zeros((steps, batch, first[0].shape[1]))
        state = first
        for t in range(steps):
            at = steps - 1 - t if reverse else t
            state = step(inputs[at], state, weight, bias)
            if project is not None:
                state = (F.linear(state[0], project), *state[1:])
            outputs[at] = state[0]
        return outputs.reshape(steps * batch, first[0].shape[1]), state

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += f", bias={self.bias}"
        if self.batch_first:
            text += f", batch_first={self.batch_first}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + (f", bidirectional={self.bidirectional}" if self.bidirectional else "")


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it, step after step (Elman, 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); `proj_size` projects the outputs (Sak et al., 2014).

    (T, N, input_size), or (N, T, input_size) where batch_first -> outputs, (h_n, c_n).

    >>> outputs, (h, c) = ingot.nn.LSTM(3, 5, num_layers=2, bidirectional=True)(ingot.ones(7, 2, 3))
    >>> outputs.shape, h.shape
    (ingot.Size([7, 2, 10]), ingot.Size([4, 2, 5]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014): (T, N, input_size) -> outputs, h_n."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class RNNCellBase(Module):
    """One step of a recurrent layer on (N, input_size) or (input_size,)."""

    _mode = ""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = self._gates() * hidden_size
        self.weight_ih = Parameter(empty(gates, input_size, dtype=dtype, device=device))
        self.weight_hh = Parameter(empty(gates, hidden_size, dtype=dtype, device=device))
        self.register_parameter("bias_ih", None)
        self.register_parameter("bias_hh", None)
        if bias:
            self.bias_ih = Parameter(empty(gates, dtype=dtype, device=device))
            self.bias_hh = Parameter(empty(gates, dtype=dtype, device=device))
        self.reset_parameters()

    def _gates(self) -> int:
        return _GATES[self._mode]

    def reset_parameters(self) -> None:
        """Draw new weights."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, input: Any, states: tuple[Any, ...], mode: str) -> _State:
        if input.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}")
        for i, s in enumerate(states):
            if s.ndim not in (1, 2):
                name = "hidden" if mode != "LSTM" else f"hx[{i}]"
                raise ValueError(f"{type(self).__name__}: Expected {name} to be 1D or 2D, got {s.ndim}D instead")
        batched = input.ndim == 2
        x = input if batched else input.unsqueeze(0)
        count = 2 if mode == "LSTM" else 1
        if not states:
            states = (x.new_zeros((x.shape[0], self.hidden_size)),) * count
        elif not batched:
            states = tuple(s.unsqueeze(0) for s in states)
        for s in states:
            if tuple(s.shape) != (x.shape[0], self.hidden_size):
                raise RuntimeError(f"hidden has shape {list(s.shape)}, expected {[x.shape[0], self.hidden_size]}")
        found = _STEPS[mode](F.linear(x, self.weight_ih, self.bias_ih), states, self.weight_hh, self.bias_hh)
        return found if batched else tuple(s.squeeze(0) for s in found)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        kind = getattr(self, "nonlinearity", "tanh")
        return text if kind == "tanh" else f"{text}, nonlinearity={kind}"


class RNNCell(RNNCellBase):
    """One step of RNN: (N, input_size), h (N, hidden_size) -> h'."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {nonlinearity}")
        self._mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,), self._mode)[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM: (N, input_size), (h, c) -> (h', c')."""

    _mode = "LSTM"

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(input, () if hx is None else tuple(hx), "LSTM")
        return h, c


class GRUCell(RNNCellBase):
    """One step of GRU: (N, input_size), h (N, hidden_size) -> h'."""

    _mode = "GRU"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,), "GRU")[0]
