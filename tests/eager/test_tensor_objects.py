"""Tensors as Python objects: memory shared with numpy, copies, pickles, texts, defaults, `out=`."""

import copy
import inspect
import pickle
import warnings
from typing import Any

import ingot
import numpy as np
import pytest


def test_memory_is_shared_with_numpy() -> None:
    array = np.zeros(3, np.float32)
    tensor = ingot.from_numpy(array)
    tensor.add_(1)
    assert array.tolist() == [1.0, 1.0, 1.0]
    array[0] = 7
    assert tensor[0].item() == 7.0
    assert np.shares_memory(tensor.numpy(), array)
    assert np.shares_memory(np.asarray(tensor[1:]), array)
    assert not np.shares_memory(ingot.tensor(array).numpy(), array)
    assert not np.shares_memory(np.array(tensor), array)
    assert np.asarray(tensor, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        tensor.__array__(np.float64, copy=False)


def test_views_share_and_copies_do_not() -> None:
    x = ingot.arange(12.0).reshape(3, 4)
    for view in (x.view(4, 3), x.t(), x[1:], x[:, ::2], x.expand(2, 3, 4), x.detach(), x.unsqueeze(0), x.T, x.data):
        assert np.shares_memory(view.numpy(), x.numpy())
    for other in (x.clone(), x[[0, 1]], x[x > 3], x + 0, x.t().contiguous(), x.to(ingot.float64), x.repeat(2, 1)):
        assert not np.shares_memory(other.numpy(), x.numpy())
    assert x.contiguous() is x and x.to(ingot.float32) is x and x.float() is x
    assert x.to(ingot.float32, copy=True) is not x


def test_copies_and_pickles_keep_what_matters() -> None:
    x = ingot.ones(2, requires_grad=True)
    (x * 3).sum().backward()
    x.label = "kept"  # type: ignore[attr-defined]
    deep: Any = copy.deepcopy(x)
    assert deep.requires_grad and deep.grad.tolist() == [3.0, 3.0] and deep.label == "kept"
    assert not np.shares_memory(deep._array, x._array)
    again = pickle.loads(pickle.dumps(x))
    assert again.requires_grad and again.label == "kept"
    parameter = pickle.loads(pickle.dumps(ingot.nn.Parameter(ingot.ones(2))))
    assert type(parameter) is ingot.nn.Parameter and parameter.requires_grad
    with pytest.raises(RuntimeError, match="detach"):
        pickle.dumps(x * 2)
    shared = [x, x]
    first, second = copy.deepcopy(shared)
    assert first is second


def test_python_values() -> None:
    assert ingot.tensor(3).item() == 3 and type(ingot.tensor(3.0).item()) is float
    assert ingot.tensor([[True]]).item() is True
    assert list(range(5))[ingot.tensor(2)] == 2
    assert f"{ingot.tensor(2.5):.3f}" == "2.500" and f"{ingot.tensor(2)}" == "2"
    assert {ingot.ones(1): 1}  # hashed by identity
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(ingot.ones(2))
    with pytest.raises(RuntimeError, match="no value"):
        bool(ingot.ones(0))
    with pytest.raises(TypeError, match="0-d"):
        len(ingot.tensor(1))
    with pytest.raises(TypeError, match="0-d"):
        iter(ingot.tensor(1))


def test_default_dtype() -> None:
    ingot.set_default_dtype(ingot.float64)
    try:
        assert ingot.tensor([1.0]).dtype is ingot.float64
        assert ingot.zeros(2).dtype is ingot.float64
        assert (ingot.arange(2) / 2).dtype is ingot.float64
        assert repr(ingot.tensor([1.0])) == "tensor([1.])"
        assert ingot.tensor(1j).dtype is ingot.complex128
    finally:
        ingot.set_default_dtype(ingot.float32)
    assert (ingot.arange(2) / 2).dtype is ingot.float32
    with pytest.raises(TypeError, match="floating"):
        ingot.set_default_dtype(ingot.int64)


def test_print_options() -> None:
    x = ingot.tensor([1.23456, 1000.0])
    try:
        ingot.set_printoptions(precision=2)
        assert repr(x) == "tensor([   1.23, 1000.00])"
        ingot.set_printoptions(sci_mode=True)
        assert "e+03" in repr(x)
        ingot.set_printoptions(profile="full")
        assert "..." not in repr(ingot.zeros(2000))
        ingot.set_printoptions(profile="short")
        assert repr(x) == "tensor([   1.23, 1000.00])"
        with pytest.raises(ValueError, match="profile"):
            ingot.set_printoptions(profile="other")
    finally:
        ingot.set_printoptions(profile="default")
    assert repr(ingot.nn.Parameter(ingot.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_out() -> None:
    out = ingot.empty(3)
    memory = out._array
    assert ingot.exp(ingot.zeros(3), out=out) is out and out.tolist() == [1.0, 1.0, 1.0]
    assert out._array is memory
    assert ingot.add(ingot.ones(3), 1, out=out).tolist() == [2.0, 2.0, 2.0]
    empty = ingot.empty(0)
    assert ingot.mul(ingot.ones(2), 4, out=empty).tolist() == [4.0, 4.0]
    with pytest.warns(UserWarning, match="resized"):
        ingot.exp(ingot.zeros(2), out=out)
    with pytest.raises(RuntimeError, match="can't be cast"):
        ingot.exp(ingot.zeros(3), out=ingot.zeros(3, dtype=ingot.int64))
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        ingot.exp(ingot.zeros(3, requires_grad=True), out=ingot.empty(3))
    with pytest.raises(TypeError, match="must be Tensor"):
        ingot.exp(ingot.zeros(3), out=3)


def test_numbers_in_the_random_methods() -> None:
    ingot.manual_seed(0)
    x = ingot.empty(1000)
    assert x.uniform_(2, 3).min().item() >= 2 and x.max().item() <= 3
    assert abs(x.normal_(5, 0.1).mean().item() - 5) < 0.02
    assert set(x.bernoulli_(0.3).tolist()) == {0.0, 1.0} and 0.2 < x.mean().item() < 0.4
    assert set(ingot.empty(1000, dtype=ingot.int64).random_(2, 5).tolist()) == {2, 3, 4}
    generator = ingot.Generator().manual_seed(3)
    first = ingot.empty(4).uniform_(generator=generator)
    again = ingot.empty(4).uniform_(generator=ingot.Generator().manual_seed(3))
    assert first.tolist() == again.tolist()
    for call in (lambda: x.uniform_(3, 2), lambda: x.normal_(0, -1), lambda: x.bernoulli_(2)):
        with pytest.raises(RuntimeError):
            call()


def test_functions_tell_their_signature() -> None:
    assert list(inspect.signature(ingot.sum).parameters) == ["input", "dim", "keepdim", "dtype"]
    assert ingot.exp.__doc__
    with pytest.raises(TypeError, match="argument"):
        ingot.exp()
    with pytest.raises(TypeError, match="wrong"):
        ingot.sum(ingot.ones(2), wrong=1)


def test_reading_and_writing_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = ingot.tensor([0.0, -1.0, float("inf"), float("nan")])
        for result in (1 / x, x.log(), x.sqrt(), x - x, x * 0, x.exp(), x // 0.0, x % 0.0, x.sum(), x.std(), x**0.5):
            assert isinstance(result, ingot.Tensor)
        x.div_(0)
        x.log_()


def test_threads_have_switches_of_their_own() -> None:
    from threading import Thread

    seen: list[bool] = []
    with ingot.no_grad():
        thread = Thread(target=lambda: seen.append(ingot.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize("name", ["t", "transpose", "unsqueeze", "squeeze"])
def test_geometry_in_place(name: str) -> None:
    x = ingot.arange(6.0).reshape(2, 1, 3) if name == "squeeze" else ingot.arange(6.0).reshape(2, 3)
    arguments = {"t": (), "transpose": (0, 1), "unsqueeze": (1,), "squeeze": (1,)}[name]
    expected = getattr(x.clone(), name)(*arguments)
    memory = x.data_ptr()  # type: ignore[attr-defined]
    assert getattr(x, f"{name}_")(*arguments) is x
    assert x.tolist() == expected.tolist() and x.data_ptr() == memory  # type: ignore[attr-defined]
