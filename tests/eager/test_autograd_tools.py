"""What autograd offers around backward: freed graphs, hooks on nodes and saved tensors, inference, forward mode."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import autograd, func


def leaf(*values: float) -> Any:
    return ingot.tensor(values, requires_grad=True)


# -- a second backward ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "twice"),
    [
        (lambda x: (x + x).sum(), [4, 4]),
        (lambda x: (-x).sum(), [-2, -2]),
        (lambda x: x.view(2, 1).sum(), [2, 2]),
        (lambda x: x.mean(), [1, 1]),
        (lambda x: ingot.cat([x, x]).sum(), [4, 4]),
        (lambda x: x[0], [2, 0]),
        (lambda x: x.clone().double().sum(), [2, 2]),
    ],
)
def test_what_saved_nothing_can_go_backward_again(build: Any, twice: list[float]) -> None:
    x = leaf(1.0, 2.0)
    y = build(x)
    y.backward()
    y.backward()
    assert x.grad.tolist() == twice


@pytest.mark.parametrize(
    "build",
    [
        lambda x: (x * x).sum(),
        lambda x: (x * 3).sum(),
        lambda x: (x / x.sum()).sum(),
        lambda x: x.exp().sum(),
        lambda x: x.relu().sum(),
        lambda x: (x[None] @ x[:, None]).sum(),
        lambda x: x.softmax(0)[0],
        lambda x: x.prod(),
        lambda x: Square.apply(x).sum(),
    ],
)
def test_what_saved_values_cannot(build: Any) -> None:
    y = build(leaf(1.0, 2.0))
    y.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


class Square(autograd.Function):
    @staticmethod
    def forward(x: Any) -> Any:
        return x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def test_a_freed_part_is_still_part_of_the_graph() -> None:
    x = leaf(1.0, 2.0)
    y = x + 1
    y.sum().backward()
    (y * y).sum().backward()
    assert x.grad.tolist() == [5, 7]


# -- functions of the user's under transformations --------------------------------------------------------------------


def test_functions_inside_transformations() -> None:
    x = ingot.tensor([1.0, 3.0])
    assert func.grad(lambda a: Square.apply(a).sum())(x).tolist() == [2, 6]
    assert func.vmap(func.grad(Square.apply))(x).tolist() == [2, 6]
    assert func.vmap(func.grad(func.grad(lambda a: Square.apply(a) * a)))(x).tolist() == [6, 18]
    value, along = func.jvp(Square.apply, (x,), (x,))
    assert value.tolist() == [1, 9] and along.tolist() == [2, 18]
    rows = ingot.arange(6.0).reshape(2, 3)
    assert func.vmap(Square.apply)(rows).tolist() == (rows * rows).tolist()


def test_a_function_with_a_rule_of_its_own_for_batches() -> None:
    seen = []

    class Doubled(autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x * 2

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 2

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: Any) -> Any:
            seen.append((info.batch_size, in_dims, tuple(x.shape)))
            return Doubled.apply(x), 0

    assert func.vmap(Doubled.apply)(ingot.ones(3, 2)).tolist() == [[2, 2]] * 3
    assert seen == [(3, (0,), (3, 2))]


# -- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_of_nodes_see_and_replace_gradients() -> None:
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.grad_fn.register_prehook(lambda outputs: seen.append(outputs[0].tolist()))
    handle = y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 10, None))
    y.sum().backward(retain_graph=True)
    assert seen == [[1.0]] and x.grad.tolist() == [20]
    handle.remove()
    y.sum().backward()
    assert x.grad.tolist() == [22]


def test_the_graph_can_be_walked() -> None:
    x = leaf(1.0)
    y = (x * 2).sin()
    node = y.grad_fn
    assert node.name() == type(node).__name__ == "SinBackward0"
    (inner, index), *_ = node.next_functions
    assert inner.name() == "MulBackward0" and index == 0
    end, other = inner.next_functions
    assert end[0].variable is x and end[0].name() == "torch::autograd::AccumulateGrad" and other == (None, 0)


def test_hooks_must_return_gradients() -> None:
    x = leaf(1.0)
    x.register_hook(lambda gradient: 5)
    with pytest.raises(TypeError, match="hook returned 'int'"):
        (x * 2).sum().backward()
    x = leaf(1.0)
    x.register_hook(lambda gradient: ingot.ones(3))
    with pytest.raises(RuntimeError, match="changed the size of value"):
        (x * 2).sum().backward()


def test_hooks_see_what_is_saved() -> None:
    x = leaf(1.0, 2.0)
    packed: list[Any] = []

    def pack(tensor: Any) -> int:
        packed.append(tensor.numpy().copy())
        return len(packed) - 1

    with autograd.graph.saved_tensors_hooks(pack, lambda index: ingot.from_numpy(packed[index])):
        y = (x * 3).exp().sum()
    assert packed
    (first,) = autograd.grad(y, x, create_graph=True)
    np.testing.assert_allclose(first.numpy(force=True), 3 * np.exp([3.0, 6.0]), rtol=1e-6)
    first.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 9 * np.exp([3.0, 6.0]), rtol=1e-6)
    with autograd.graph.save_on_cpu():
        z = (Square.apply(x) * x).sum()
    x.grad = None
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), [3, 12])
    with (
        autograd.graph.disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        autograd.graph.saved_tensors_hooks(pack, pack),
    ):
        pass


def test_a_hook_on_several_gradients_waits_for_all() -> None:
    a, b = leaf(1.0), leaf(2.0)
    seen = []
    autograd.graph.register_multi_grad_hook((a, b), lambda found: seen.append([g.item() for g in found]))
    (a * b).sum().backward()
    assert seen == [[2.0, 1.0]]


# -- inference --------------------------------------------------------------------------------------------------------


def test_tensors_of_inference_stay_out_of_autograd() -> None:
    w = leaf(1.0, 2.0)
    with ingot.inference_mode():
        x = ingot.ones(2)
        assert ingot.is_inference_mode_enabled() and x.is_inference() and not (w * 2).requires_grad
        assert (w * 2).is_inference() and not w.view(2, 1).is_inference()
        x.add_(1)
        with ingot.inference_mode(False):
            assert (w * 2).requires_grad and not ingot.ones(1).is_inference()
    assert not ingot.is_inference_mode_enabled() and not x.clone().is_inference()
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="requires_grad=True on inference tensor"):
        x.requires_grad_()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        (x * w).sum().backward()
    (x + w).sum().backward()
    assert w.grad.tolist() == [1, 1]


def test_switches_of_generators_hold_while_they_run() -> None:
    x = leaf(1.0)

    @ingot.no_grad()
    def values() -> Any:
        for i in range(2):
            yield x * i

    found = []
    for value in values():
        found.append((value.requires_grad, ingot.is_grad_enabled()))
    assert found == [(False, True)] * 2


# -- forward mode, checks ---------------------------------------------------------------------------------------------


def test_dual_tensors_carry_a_direction() -> None:
    with autograd.forward_ad.dual_level():
        x = autograd.forward_ad.make_dual(ingot.tensor([1.0, 2.0]), ingot.tensor([1.0, 0.0]))
        y = autograd.forward_ad.unpack_dual(x.sin() * x)
        np.testing.assert_allclose(y.tangent.numpy(), [np.cos(1) + np.sin(1), 0], rtol=1e-6)
        assert not y.primal.requires_grad
        assert autograd.forward_ad.unpack_dual(ingot.ones(2)).tangent is None
        with pytest.raises(RuntimeError, match="Nested"):
            autograd.forward_ad.enter_dual_level()
    with pytest.raises(RuntimeError, match="no level"):
        autograd.forward_ad.make_dual(ingot.ones(1), ingot.ones(1))


def test_gradcheck_of_complex_inputs_and_its_options() -> None:
    x = ingot.tensor([2.0 + 1j, 3.0], dtype=ingot.complex128, requires_grad=True)
    assert autograd.gradcheck(lambda z: z * z.conj() + z.exp(), (x,))
    assert autograd.gradcheck(lambda z: (z * z).abs(), x, fast_mode=True, check_batched_grad=True)
    assert autograd.gradgradcheck(lambda z: (z * z * z).real, x)

    class Wrong(autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: Any) -> Any:
            return z * 1j

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 1j  # the conjugate is missing

    with pytest.raises(autograd.GradcheckError):
        autograd.gradcheck(Wrong.apply, (x,))


def test_anomaly_mode_names_the_users_line() -> None:
    w = leaf(0.0)
    with pytest.raises(RuntimeError, match="'SqrtBackward0' returned nan") as caught, autograd.detect_anomaly():
        (w.sqrt() * 0.0).sum().backward()  # here
    assert "# here" in "".join(caught.value.__notes__).splitlines()[-1]
