"""The autograd tape: memory, depth, hooks, places in the graph under in-place writes, anomaly mode, own derivatives."""

import gc
import tracemalloc
import weakref
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.autograd import GradcheckError, gradcheck, gradgradcheck


def leaf(*values: float) -> Any:
    return ingot.tensor(values, dtype=ingot.float64, requires_grad=True)


@pytest.fixture
def no_collector() -> Any:
    """Cycles stay: what dies without the collector was freed by counting references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_computed_tensor_dies_with_its_last_name(no_collector: Any) -> None:
    w = leaf(1.0, 2.0)
    y = (w * 2).exp()
    y.retain_grad()
    array = weakref.ref(y._array)
    tensor = weakref.ref(y)
    del y
    assert tensor() is None and array() is None


def test_backward_frees_what_was_saved(no_collector: Any) -> None:
    w = leaf(1.0, 2.0)
    h = w * 3
    saved = weakref.ref(h)
    loss = (h * h).sum()
    del h
    assert saved() is not None
    loss.backward()
    assert saved() is None


def test_double_backward_leaves_no_cycles(no_collector: Any) -> None:
    w = leaf(1.0, 2.0)
    h = w.exp()
    kept = weakref.ref(h)
    (g,) = ingot.autograd.grad((h * h).sum(), w, create_graph=True)
    g.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 4 * np.exp(2 * w.detach().numpy()))
    del h, g
    assert kept() is None


class Cube(ingot.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x * x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        x, y = ctx.saved_tensors
        return 3 * y / x * gradient


def test_a_function_does_not_keep_its_output(no_collector: Any) -> None:
    w = leaf(1.0, 2.0)
    y = Cube.apply(w)
    output = weakref.ref(y)
    del y
    assert output() is None


def test_a_function_is_differentiable_twice() -> None:
    assert gradcheck(Cube.apply, (leaf(0.5, 2.0),))
    assert gradgradcheck(Cube.apply, (leaf(0.5, 2.0),))


def test_an_output_overwritten_after_it_was_saved_is_caught() -> None:
    y = Cube.apply(leaf(1.0, 2.0))
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_functions_are_applied_not_instantiated() -> None:
    with pytest.raises(RuntimeError, match="apply"):
        Cube()


def test_once_differentiable_refuses_the_second_time() -> None:
    class Once(ingot.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        @ingot.autograd.once_differentiable
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 2

    w = leaf(1.0)
    Once.apply(w).sum().backward()
    assert w.grad.item() == 2.0
    (g,) = ingot.autograd.grad(Once.apply(w).sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_deep_graphs_need_no_recursion() -> None:
    w = leaf(1.0)
    y = w
    for _ in range(20_000):
        y = y + 1.0
    y.sum().backward()
    assert w.grad.item() == 1.0
    z = w
    for _ in range(20_000):
        z = z * 1.0
    freed = weakref.ref(z)
    del z  # freeing a long chain must not exhaust the stack
    assert freed() is None


def test_a_wide_graph_is_walked_once() -> None:
    w = leaf(1.0)
    y = w
    for _ in range(60):
        y = y + y
    y.sum().backward()
    assert w.grad.item() == 2.0**60


def test_grad_visits_only_what_leads_to_the_inputs() -> None:
    class Expensive(ingot.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            raise AssertionError("visited")

    w, u = leaf(1.0), leaf(2.0)
    loss = (Expensive.apply(u) * w).sum()
    (g,) = ingot.autograd.grad(loss, w)
    assert g.item() == 4.0
    assert w.grad is None and u.grad is None


def test_gradients_of_leaves_do_not_share_memory() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    assert not np.shares_memory(a.grad.numpy(), b.grad.numpy())
    seen: list[Any] = []
    c = a + 1
    c.register_hook(seen.append)
    a.grad = None
    c.backward(ingot.ones(2, dtype=ingot.float64))
    a.grad.mul_(5)
    assert seen[0].tolist() == [1.0, 1.0]


def test_a_gradient_is_added_up_in_place() -> None:
    w = leaf(1.0, 2.0)
    (w * 2).sum().backward()
    first = w.grad
    (w * 3).sum().backward()
    assert w.grad is first and first.tolist() == [5.0, 5.0]


def test_an_operand_keeps_its_place_in_the_graph() -> None:
    w = leaf(1.0, 2.0)
    h = w * 2
    z = h + 1
    h.mul_(3)
    (z + h).sum().backward()
    assert w.grad.tolist() == [8.0, 8.0]


def test_views_follow_a_base_that_was_written() -> None:
    w = leaf(1.0, 2.0, 3.0)
    base = ingot.zeros(3, dtype=ingot.float64)
    inner = base[1:]
    last = inner[1]
    base.add_(w * 2)
    assert inner.requires_grad and not inner.is_leaf
    inner.mul_(10)
    (last + base.sum()).backward()
    assert w.grad.tolist() == [2.0, 20.0, 40.0]


def test_a_view_taken_apart_from_its_base_is_an_error_not_a_wrong_gradient() -> None:
    w = leaf(1.0, 2.0)
    x = w * w
    x.add_(1)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        w.t_()
    x.sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]
    base = (w * w).expand(2, 2).clone()
    row = base[0]
    base.t_()
    base.mul_(2)
    with pytest.raises(RuntimeError, match="take the view again"):
        row.sum()


def test_failed_writes_change_nothing() -> None:
    x = ingot.arange(3)
    for write in (lambda: x.add_(1.5), lambda: x.add_(ingot.ones(2)), lambda: x.mul_(ingot.ones(2, 3))):
        with pytest.raises(RuntimeError):
            write()
    with pytest.raises(IndexError):
        x[5] = 1
    with pytest.raises(TypeError):
        x[0] = "a"
    assert x.tolist() == [0, 1, 2] and x.version == 0


def test_in_place_ops_allocate_no_second_buffer() -> None:
    x, y = ingot.ones(1_000_000), ingot.ones(1_000_000)
    size = x.numpy().nbytes
    for write in (lambda: x.add_(y), lambda: x.mul_(0.5), lambda: x.div_(y), lambda: x.exp_(), lambda: x.fill_(1)):
        tracemalloc.start()
        write()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < size / 4


def test_bools_are_not_subtracted_in_place() -> None:
    flags = ingot.tensor([True, False])
    with pytest.raises(RuntimeError, match="bool"):
        flags.sub_(ingot.tensor([True, True]))
    assert flags.tolist() == [True, False]


def test_read_only_memory_is_not_written() -> None:
    array = np.arange(3.0)
    array.flags.writeable = False
    with pytest.raises(RuntimeError, match="clone"):
        ingot.from_numpy(array).add_(1)
    with pytest.raises(RuntimeError, match="more than one element"):
        ingot.zeros(1).expand(3).add_(1)


def test_anomaly_mode_points_at_the_forward_line() -> None:
    w = leaf(-1.0)
    with pytest.raises(RuntimeError, match="nan values") as caught, ingot.autograd.detect_anomaly():
        (w.sqrt() * 1.0).sum().backward()  # the line to find
    notes = "".join(caught.value.__notes__)
    assert "the line to find" in notes
    switch = ingot.autograd.set_detect_anomaly(True)
    with switch:
        pass
    w.sqrt().sum().backward()
    assert np.isnan(w.grad.item())


def test_wrong_derivatives_are_found() -> None:
    class Wrong(ingot.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            return gradient * 3

    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(Wrong.apply, (leaf(1.0, 2.0),))
    assert not gradcheck(Wrong.apply, (leaf(1.0),), raise_exception=False)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: x.detach() * 2, (leaf(1.0),))
    with pytest.raises(ValueError, match="float64"):
        gradcheck(lambda x: x, (ingot.ones(2, requires_grad=True),))
    with pytest.raises(ValueError, match="requires_grad"):
        gradcheck(lambda x: x, (ingot.ones(2),))


def test_gradcheck_on_views_broadcasts_and_empty_tensors() -> None:
    x = ingot.tensor(np.random.default_rng(0).random((3, 4)), requires_grad=True)
    assert gradcheck(lambda x: x.t()[1:] * x[:, 0], (x,))
    assert gradgradcheck(lambda x: x.t()[1:] * x[:, 0], (x,))
    assert gradcheck(lambda x, y: x + y, (leaf(1.0, 2.0), leaf(3.0)))
    assert gradcheck(lambda x: x * 2, (ingot.zeros(0, dtype=ingot.float64, requires_grad=True),))
    assert gradcheck(lambda x: (x * 2, x.argmax()), (leaf(1.0, 2.0),))


def test_hooks_leave_with_their_handle() -> None:
    w = leaf(1.0)
    with w.register_hook(lambda g: g * 100) as handle:
        pass
    handle.remove()
    (w * 2).sum().backward()
    assert w.grad.item() == 2.0


def test_switches_nest_and_survive_errors() -> None:
    with pytest.raises(ZeroDivisionError), ingot.no_grad():
        with ingot.enable_grad():
            assert ingot.is_grad_enabled()
        assert not ingot.is_grad_enabled()
        raise ZeroDivisionError
    assert ingot.is_grad_enabled()

    @ingot.no_grad
    def plain(x: Any) -> Any:
        return x * 2

    assert not plain(leaf(1.0)).requires_grad
    with ingot.inference_mode(False):
        assert ingot.is_grad_enabled()
