"""RNN, GRU and LSTM, one cell step after another (Hochreiter and Schmidhuber, 1997; Cho et al., 2014)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.ops._op import F
from ..registry import op
from ..values import Known
from .control import run_loop

_Function = Callable[[Any], Any]
_Step = Callable[[int, Any, list[Any]], list[Any]]


def _activation(node: Any, name: str, alpha: float | None, beta: float | None) -> _Function:
    def number(given: float | None, default: float) -> float:
        return default if given is None else given

    match name.lower():
        case "sigmoid":
            return F.sigmoid
        case "tanh":
            return F.tanh
        case "relu":
            return F.relu
        case "softsign":
            return F.softsign
        case "softplus":
            return lambda x: F.logaddexp(x, node.like(0, x))
        case "leakyrelu":
            return lambda x: F.leaky_relu(x, number(alpha, 0.01))
        case "elu":
            return lambda x: F.elu(x, number(alpha, 1.0))
        case "affine":
            return lambda x: F.add(F.mul(x, number(alpha, 1.0)), number(beta, 0.0))
        case "scaledtanh":
            return lambda x: F.mul(F.tanh(F.mul(x, number(beta, 1.0))), number(alpha, 1.0))
        case "hardsigmoid":
            return lambda x: F.clamp(F.add(F.mul(x, number(alpha, 0.2)), number(beta, 0.5)), 0, 1)
        case "thresholdedrelu":
            return lambda x: F.where(F.gt(x, number(alpha, 1.0)), x, node.like(0, x))
    raise node.error(f"{node.op_type}: there is no activation {name!r}")


class _Layer:
    """What RNN, GRU and LSTM have in common: directions, layouts, activations, lengths."""

    def __init__(self, node: Any, x: Any, defaults: tuple[str, ...]) -> None:
        self.node = node
        self.batch_first = bool(node.attribute("layout", 0))
        self.x = F.transpose(x, 0, 1) if self.batch_first else x
        self.direction = node.attribute("direction", "forward")
        self.n_directions = 2 if self.direction == "bidirectional" else 1
        self.clip = node.attribute("clip", None)
        names = node.attribute("activations", defaults * self.n_directions)
        alphas, betas = list(node.attribute("activation_alpha", ())), list(node.attribute("activation_beta", ()))
        takes_alpha = {"leakyrelu", "elu", "affine", "scaledtanh", "hardsigmoid", "thresholdedrelu"}
        takes_beta = {"affine", "scaledtanh", "hardsigmoid"}
        self.functions = []
        for name in names:
            alpha = alphas.pop(0) if alphas and name.lower() in takes_alpha else None
            beta = betas.pop(0) if betas and name.lower() in takes_beta else None
            self.functions.append(_activation(node, name, alpha, beta))

    def clipped(self, x: Any) -> Any:
        """A pre-activation, kept within the bounds if there are any."""
        return x if self.clip is None else F.clamp(x, -self.clip, self.clip)

    def initial(self, given: Any, d: int, hidden: int) -> Any:
        if given is None:
            return F.full((self.x.shape[1], hidden), 0, dtype=self.x.dtype)
        return F.select(given, d, dim=1 if self.batch_first else 0)

    def run(self, lengths: Any, states: list[list[Any]], inputs: list[Any], step: _Step) -> Any:
        """All hidden states, and the last states; `step(direction, input, states)` gives the next ones.

        `inputs` are what each direction's steps are given, [time, batch, ...]: the part that needs no state, computed
        for all times at once. Past its length a sequence keeps its states, and the hidden states there are 0.
        """
        rows, finals = [], []
        for d in range(self.n_directions):
            hidden, last = self._direction(d, lengths, states[d], inputs[d], step)
            rows.append(hidden)
            finals.append(last)
        y = F.stack(rows, 1)
        last = [F.stack([final[i] for final in finals], 0) for i in range(len(finals[0]))]
        if self.batch_first:
            y = F.permute(y, (2, 0, 1, 3))
            last = [F.transpose(v, 0, 1) for v in last]
        return y, *last

    def _direction(self, d: int, lengths: Any, states: list[Any], inputs: Any, step: _Step) -> tuple[Any, list[Any]]:
        """One direction as a loop over time: the hidden states [time, batch, hidden], and the last states."""
        node = self.node
        turned = self.direction == "reverse" or d == 1
        time = inputs.shape[0]
        inputs = F.flip(inputs, (0,)) if turned else inputs

        def body(iteration: Any, current: list[Any]) -> tuple[Any, list[Any], list[Any]]:
            following = step(d, F.select(inputs, F.item(iteration), dim=0), current)
            shown = following[0]
            if lengths is not None:
                now = F.sub(time - 1, iteration) if turned else iteration
                live = F.unsqueeze(F.gt(lengths, now), 1)
                shown = F.where(live, shown, node.like(0, shown))
                following = [F.where(live, new, old) for new, old in zip(following, current, strict=True)]
            return Known.of(np.array(True)), following, [shown]

        builder = node.importer.builder
        last, (hidden,) = run_loop(node, builder.dim(time), builder.constant(True), states, body, time)
        return (F.flip(hidden, (0,)) if turned else hidden), last


def _biases(b: Any, d: int, gates: int, hidden: int) -> tuple[Any, Any] | None:
    """The bias of the input's and that of the state's product, of one direction."""
    if b is None:
        return None
    row = F.select(b, d, dim=0)
    return F.slice(row, 0, gates * hidden, dim=0), F.slice(row, gates * hidden, 2 * gates * hidden, dim=0)


def _part(x: Any, index: int, hidden: int) -> Any:
    return F.slice(x, index * hidden, (index + 1) * hidden, dim=x.ndim - 1)


def _projections(layer: _Layer, w: Any, b: Any, gates: int, hidden: int) -> list[Any]:
    """The products of all inputs with each direction's weights, [time, batch, gates * hidden]."""
    rows = [_biases(b, d, gates, hidden) or (None, None) for d in range(layer.n_directions)]
    return [_linear(layer.x, F.select(w, d, dim=0), rows[d][0]) for d in range(layer.n_directions)]


def _linear(x: Any, weight: Any, bias: Any) -> Any:
    product = F.matmul(x, F.transpose(weight, 0, 1))
    return product if bias is None else F.add(product, bias)


@op("RNN")
def rnn(node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    layer = _Layer(node, x, ("Tanh",))
    hidden = node.fix(r.shape[2])

    def step(d: int, inputs: Any, states: list[Any]) -> list[Any]:
        bias = _biases(b, d, 1, hidden) or (None, None)
        total = F.add(inputs, _linear(states[0], F.select(r, d, dim=0), bias[1]))
        return [layer.functions[d](layer.clipped(total))]

    states = [[layer.initial(h0, d, hidden)] for d in range(layer.n_directions)]
    return layer.run(lengths, states, _projections(layer, w, b, 1, hidden), step)


@op("GRU")
def gru(node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None) -> Any:
    layer = _Layer(node, x, ("Sigmoid", "Tanh"))
    hidden = node.fix(r.shape[2])
    after = node.attribute("linear_before_reset", 0)

    def step(d: int, inputs: Any, states: list[Any]) -> list[Any]:
        f, g = layer.functions[2 * d : 2 * d + 2]
        (state,) = states
        _, state_bias = _biases(b, d, 3, hidden) or (None, None)
        recurrent = F.select(r, d, dim=0)
        gates = F.slice(recurrent, 0, 2 * hidden, dim=0)
        gate_bias = None if state_bias is None else F.slice(state_bias, 0, 2 * hidden, dim=0)
        from_state = _linear(state, gates, gate_bias)
        update = f(layer.clipped(F.add(_part(inputs, 0, hidden), _part(from_state, 0, hidden))))
        reset = f(layer.clipped(F.add(_part(inputs, 1, hidden), _part(from_state, 1, hidden))))
        weight = F.slice(recurrent, 2 * hidden, 3 * hidden, dim=0)
        bias = None if state_bias is None else F.slice(state_bias, 2 * hidden, 3 * hidden, dim=0)
        inner = F.mul(reset, _linear(state, weight, bias)) if after else _linear(F.mul(reset, state), weight, bias)
        candidate = g(layer.clipped(F.add(_part(inputs, 2, hidden), inner)))
        return [F.add(F.mul(F.sub(1.0, update), candidate), F.mul(update, state))]

    states = [[layer.initial(h0, d, hidden)] for d in range(layer.n_directions)]
    return layer.run(lengths, states, _projections(layer, w, b, 3, hidden), step)


@op("LSTM")
def lstm(
    node: Any, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None,
    peepholes: Any = None,
) -> Any:  # fmt: skip
    layer = _Layer(node, x, ("Sigmoid", "Tanh", "Tanh"))
    hidden = node.fix(r.shape[2])
    coupled = node.attribute("input_forget", 0)

    def step(d: int, inputs: Any, states: list[Any]) -> list[Any]:
        f, g, h = layer.functions[3 * d : 3 * d + 3]
        state, cell = states
        bias = _biases(b, d, 4, hidden) or (None, None)
        total = F.add(inputs, _linear(state, F.select(r, d, dim=0), bias[1]))
        looks = None if peepholes is None else F.select(peepholes, d, dim=0)

        def gate(index: int, look: int, at: Any) -> Any:
            part = _part(total, index, hidden)
            return layer.clipped(part if looks is None else F.add(part, F.mul(_part(looks, look, hidden), at)))

        # Gates lie in the order input, output, forget, cell; peepholes in the order input, output, forget.
        update = f(gate(0, 0, cell))
        forget = F.sub(1.0, update) if coupled else f(gate(2, 2, cell))
        cell = F.add(F.mul(forget, cell), F.mul(update, g(layer.clipped(_part(total, 3, hidden)))))
        return [F.mul(f(gate(1, 1, cell)), h(cell)), cell]

    states = [[layer.initial(h0, d, hidden), layer.initial(c0, d, hidden)] for d in range(layer.n_directions)]
    return layer.run(lengths, states, _projections(layer, w, b, 4, hidden), step)
