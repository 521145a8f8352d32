"""Recurrent layers over sequences of different lengths: packed is as each sequence by itself."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn
from ingot.nn.utils import rnn


def sequences(lengths: list[int]) -> list[Any]:
    ingot.manual_seed(0)
    return [ingot.randn(n, 3) for n in lengths]


def assert_close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 5, 1], [4], [3, 3]])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_packed_is_each_sequence_alone(kind: Any, lengths: list[int]) -> None:
    layer = kind(3, 4, num_layers=2, bidirectional=True)
    parts = sequences(lengths)
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    output, last = layer(packed)
    padded, found = rnn.pad_packed_sequence(output)
    assert found.tolist() == lengths
    first = last[0] if isinstance(last, tuple) else last
    for i, part in enumerate(parts):
        alone, state = layer(part)
        assert_close(padded[: lengths[i], i], alone)
        assert (padded[lengths[i] :, i] == 0).all()
        assert_close(first[:, i], state[0] if isinstance(state, tuple) else state)


def test_gradients_flow_through_packing() -> None:
    layer = nn.GRU(3, 4)
    padded = rnn.pad_sequence(sequences([4, 2])).requires_grad_()
    output, _ = layer(rnn.pack_padded_sequence(padded, ingot.tensor([4, 2])))
    rnn.pad_packed_sequence(output)[0].sum().backward()
    assert (padded.grad[2:, 1] == 0).all() and (padded.grad[:2, 1] != 0).any()


def test_padding_and_its_inverse() -> None:
    parts = sequences([2, 4, 1])
    padded = rnn.pad_sequence(parts, batch_first=True, padding_value=7.0)
    assert padded.shape == (3, 4, 3) and (padded[2, 1:] == 7).all()
    back = rnn.unpad_sequence(padded, [2, 4, 1], batch_first=True)
    assert all((a == b).all() for a, b in zip(back, parts, strict=True))
    left = rnn.pad_sequence(parts, padding_side="left")
    assert (left[:3, 2] == 0).all()
    total, _ = rnn.pad_packed_sequence(rnn.pack_sequence(parts, False), batch_first=True, total_length=6)
    assert total.shape == (3, 6, 3)


def test_lengths_that_do_not_fit() -> None:
    padded = ingot.ones(4, 2, 3)
    for lengths, message in (([1, 2], "decreasing"), ([5, 1], "at most 4"), ([2, 0], "greater than 0"), ([1], "len")):
        with pytest.raises(RuntimeError, match=message):
            rnn.pack_padded_sequence(padded, lengths)
    with pytest.raises(RuntimeError, match="input_size"):
        nn.LSTM(3, 4)(ingot.ones(2, 1, 5))
    with pytest.raises(RuntimeError, match="hidden size"):
        nn.GRU(3, 4)(ingot.ones(2, 1, 3), ingot.ones(1, 2, 4))
    with pytest.warns(UserWarning, match="dropout"):
        nn.LSTM(3, 4, dropout=0.5)
