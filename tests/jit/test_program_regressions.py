"""Programs that random testing found to go wrong: each runs on every executor and gives what eager execution gives."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import jit

EXECUTORS = ("interpreter", "python", "native")
torch = ingot  # programs are written as users of PyTorch write them


def array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().numpy()) if isinstance(value, ingot.Tensor) else np.asarray(value)


def assert_agrees(function: Callable[..., Any], compiled: Any, *arguments: Any) -> None:
    """The compiled callable gives what the function gives, on every executor, and leaves the same in the arguments."""

    def copied() -> list[Any]:
        return [a.clone() if isinstance(a, ingot.Tensor) else a for a in arguments]

    given = copied()
    expected = function(*given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name in EXECUTORS:
        inputs = copied()
        with jit.executor(name):
            found = compiled(*inputs)
        found = found if isinstance(found, tuple) else (found,)
        for a, b in zip((*found, *inputs), (*expected, *given), strict=True):
            a, b = array(a), array(b)
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)


def mask_and_add(x, y):  # type: ignore[no-untyped-def]
    return x[x > 0] + y


@pytest.mark.parametrize("name", EXECUTORS)
def test_sizes_known_at_run_time_only_must_broadcast(name: str) -> None:
    """Native code read past the end where they did not."""
    compiled = jit.trace(mask_and_add, (torch.ones(3), torch.ones(3)))
    y = torch.tensor([1.0, 2.0, 3.0])
    with jit.executor(name):
        assert compiled(torch.tensor([1.0, -1.0, 1.0]), torch.ones(1)).tolist() == [2.0, 2.0]
        assert compiled(torch.tensor([1.0, -1.0, -1.0]), y).tolist() == [2.0, 3.0, 4.0]
        assert compiled(-y, torch.ones(1)).shape == (0,)
        with pytest.raises(RuntimeError, match="sizes 2 and 3 do not broadcast"):
            compiled(torch.tensor([1.0, 1.0, -1.0]), y)


def changes_type(x, n: int):  # type: ignore[no-untyped-def]
    k = 0
    while k < 3 and n > 3:
        k += 1
        mask = x < -1
        x = torch.where(mask > 0, mask, mask)
    return mask.clone(), x.clone()


def test_a_loop_carries_what_is_not_defined_yet() -> None:
    """Native code copied from address 0."""
    scripted = jit.script(changes_type)
    assert_agrees(changes_type, scripted, torch.tensor([-2.0, 3.0, 1.0]), 4)
    for name in EXECUTORS:
        with jit.executor(name), pytest.raises(UnboundLocalError, match="'mask'"):
            scripted(torch.ones(3), 0)


def border(x):  # type: ignore[no-untyped-def]
    y = torch.nn.functional.pad(x.abs(), (1, 2))
    y[0] += 1
    return y.clone()


def test_one_place_of_a_padded_tensor_is_read_where_it_was_computed() -> None:
    """The addition was placed before the statement that computes its operand."""
    x = torch.tensor([1.0, -2.0, 3.0])
    assert_agrees(border, jit.trace(border, (x,)), x)


def gather_from_a_number(x):  # type: ignore[no-untyped-def]
    return x.gather(0, torch.tensor([0, 0])) * 2


def test_gather_from_a_tensor_of_rank_zero() -> None:
    x = torch.tensor(3.0)
    assert_agrees(gather_from_a_number, jit.trace(gather_from_a_number, (x,)), x)


def exponentials(x):  # type: ignore[no-untyped-def]
    return x.softmax(0), x.log_softmax(-1), x.logsumexp(0), x.logsumexp((0, 1), keepdim=True)


def test_exponentials_of_dimensions_that_may_be_empty() -> None:
    """Their decompositions took a maximum, which an empty dimension has not."""
    compiled = jit.trace(exponentials, (torch.ones(2, 3),))
    for shape in ((2, 3), (0, 3), (3, 0), (0, 0), (1, 1)):
        assert_agrees(exponentials, compiled, torch.ones(shape) * 2)
    infinite = torch.tensor([[float("inf"), 1.0], [float("-inf"), float("-inf")]])
    assert_agrees(exponentials, compiled, infinite)
    assert_agrees(exponentials, compiled, infinite.t())


def sizes_decide(x):  # type: ignore[no-untyped-def]
    n = x.shape[0]
    parts = (*x.split(2), *x.chunk(2), *x.tensor_split(2), *x.unbind())
    return (torch.eye(n), torch.linspace(0, 1, n), x.narrow(0, n // 2, 1).clone(), parts[-1].clone(),
            torch.stack([p.sum() for p in parts]))  # fmt: skip


def test_a_trace_follows_sizes_into_matrices_and_parts() -> None:
    """They were recorded as the example had them, and nothing said so."""
    with jit.executor("interpreter"):
        compiled = jit.trace(sizes_decide, (torch.ones(5),))
        assert compiled.baked == []
        for n in (5, 3, 4, 1, 8):
            x = torch.linspace(1, 2, n)
            for a, b in zip(compiled(x), sizes_decide(x), strict=True):
                np.testing.assert_allclose(array(a), array(b), rtol=1e-6)


def test_reductions_give_contiguous_tensors() -> None:
    """As in PyTorch; `view` of a sum over a dimension of a transposed tensor was refused."""
    x = torch.arange(24.0).reshape(2, 3, 4).permute(2, 1, 0)
    for y in (x.sum(0), x.mean(1), x.amax(2), x.std(1), x.any(1), x.sum(1, True), x.norm(dim=1), x.logsumexp(1)):
        assert y.is_contiguous()


def counts(x):  # type: ignore[no-untyped-def]
    n = x.shape[0]
    y = x * (n**2 + (n << 1) + abs(n - 9) + divmod(n, 2)[1] + len([0] * n)) + n * 0.5
    for i in range(n):
        y = y + i
    for row in x:
        y = y + row
    if n > 3 and len(x) != 6:
        y = y * 2
    return y


def test_a_trace_whose_sizes_decide_what_runs_is_made_again() -> None:
    """What Python took out of a size was recorded as the example had it, also where sizes differ."""
    with jit.executor("interpreter"):
        compiled = jit.trace(counts, (torch.ones(3),), on_bake="ignore")
        assert {b.location.line for b in compiled.baked} >= {counts.__code__.co_firstlineno + k for k in (2, 3, 7)}
        for n in (3, 2, 4, 6, 5, 3):
            np.testing.assert_allclose(array(compiled(torch.ones(n))), array(counts(torch.ones(n))), rtol=1e-6)
    assert len([0]) == 1 and isinstance(range(2), range) and type(range(2)) is range


def broadcast_writes(x, y):  # type: ignore[no-untyped-def]
    z = x.clone()
    z.copy_(y)
    x[1:] = y
    x += y
    return z


def test_values_are_broadcast_to_sizes_of_the_call_where_they_are_written() -> None:
    compiled = jit.trace(broadcast_writes, (torch.ones(3, 2), torch.ones(1)))
    for shape in ((3, 2), (5, 4), (1, 1)):
        assert_agrees(broadcast_writes, compiled, torch.ones(shape), torch.tensor([7.0]))


def triangles(x):  # type: ignore[no-untyped-def]
    mask = x > 0
    return mask.triu(), mask.tril(-1), (x.int() * mask).triu(1)


def test_decompositions_keep_the_dtype_of_bools() -> None:
    """The parts gave 64-bit integers, written into memory for bools."""
    x = torch.tensor([[1.0, 2.0, -3.0], [4.0, -5.0, 6.0]])
    assert_agrees(triangles, jit.trace(triangles, (x,)), x)


def rows(x, y):  # type: ignore[no-untyped-def]
    z = torch.nn.functional.layer_norm(x, x.shape[-1:])
    z[0] = y
    return z


def test_sizes_as_shapes_and_leading_ones_of_values_in_script() -> None:
    scripted = jit.script(rows)
    with jit.executor("interpreter"):
        for shape in ((2, 3), (4, 5), (1, 1)):
            x, y = torch.arange(float(np.prod(shape))).reshape(shape), torch.ones(1, 1, shape[1])
            np.testing.assert_allclose(array(scripted(x, y)), array(rows(x, y)), rtol=1e-5, atol=1e-6)


def largest_of_some(x, n: int):  # type: ignore[no-untyped-def]
    y = x[:0]
    if n > 1:
        y = x
    if n > 0:
        return float(x.max()) + y.shape[0]
    return 0.0


def test_an_operation_that_fails_for_some_sizes_does_not_for_others() -> None:
    """The graph made for an empty tensor, which raises, was taken to be for all sizes."""
    scripted = jit.script(largest_of_some)
    with jit.executor("interpreter"):
        assert scripted(torch.ones(0), 0) == 0.0
        with pytest.raises(RuntimeError, match="numel"):
            scripted(torch.ones(0), 1)
        assert scripted(torch.ones(3), 2) == 4.0
        assert scripted(torch.ones(0), 0) == 0.0


def assigned_in_an_earlier_iteration(n: int) -> int:
    total = 0
    for k in range(n):
        if k != 2:
            v = k * 10
        total += v
    return total


def test_a_variable_keeps_its_value_from_an_earlier_iteration() -> None:
    """It was not carried where a branch assigned it, and counted as not bound."""
    scripted = jit.script(assigned_in_an_earlier_iteration)
    for name in EXECUTORS:
        with jit.executor(name):
            assert scripted(5) == assigned_in_an_earlier_iteration(5) == 90


def branch_with_loop(x, n: int):  # type: ignore[no-untyped-def]
    if n > 2:
        for _ in range(n):
            x = x * x.sin()
    else:
        x = x * 3
    return x


def test_gradients_where_the_branch_with_the_loop_is_not_taken() -> None:
    """What backward keeps of the loop was a list at address 0."""
    scripted = jit.script(branch_with_loop)
    for name in EXECUTORS:
        for n in (1, 4):
            gradients = []
            for function in (branch_with_loop, scripted):
                x = torch.tensor([0.5, -1.0, 2.0], requires_grad=True)
                with jit.executor(name):
                    function(x, n).sum().backward()
                gradients.append(array(x.grad))
            np.testing.assert_allclose(*gradients, rtol=1e-5)


def writes_one(x, y):  # type: ignore[no-untyped-def]
    x += 1
    return x * y


@pytest.mark.parametrize("make", [jit.script, lambda f: jit.trace(f, (torch.ones(3), torch.ones(3)))])
def test_a_written_argument_that_shares_memory_with_another(make: Callable[..., Any], tmp_path: Path) -> None:
    """Each argument was taken to be memory of its own."""
    compiled = make(writes_one)
    a, b = torch.arange(4.0), torch.arange(4.0)
    assert compiled(a[1:], b[1:]).tolist() == [2.0, 6.0, 12.0]
    for split in (lambda t: (t[1:], t[:-1]), lambda t: (t, t), lambda t: (t[::2], t[1::2])):
        given, expected = torch.arange(4.0), torch.arange(4.0)
        shared = np.shares_memory(*(p.numpy() for p in split(given)))
        with pytest.warns(jit.FallbackWarning, match="shares memory") if shared else nullcontext():
            found = compiled(*split(given))
        assert found.tolist() == writes_one(*split(expected)).tolist() and given.tolist() == expected.tolist()
    compiled.save(tmp_path / "f.ingot", native=False)
    with pytest.raises(RuntimeError, match="shares memory"):
        jit.load(tmp_path / "f.ingot")(a, a)


def picks_a_row(x, y):  # type: ignore[no-untyped-def]
    index = x.int()
    z = torch.outer(index, y)
    return z.clone(), z.index_select(0, index % z.shape[0]), x.gather(0, torch.tensor(0))


def test_a_dimension_of_size_one_is_stored_at_place_zero() -> None:
    """It was stored at a place that only the index's memory knows."""
    x, y = torch.ones(1), torch.linspace(0, 1, 5)
    traced = jit.trace(lambda x, y: picks_a_row(x.squeeze(0).unsqueeze(0), y), (x, y))
    assert_agrees(picks_a_row, traced, x, y)


def test_alpha_takes_no_part_in_promotion_and_nan_has_no_sign() -> None:
    """As in PyTorch."""
    flags, ints, floats = torch.tensor([True, False]), torch.tensor([1, 2]), torch.tensor([1.0, float("nan")])
    assert torch.add(flags, flags, alpha=2).tolist() == [True, False]
    assert torch.add(floats[:1], ints[:1], alpha=0.5).tolist() == [1.5]
    with pytest.raises(RuntimeError, match="alpha must not be a floating point"):
        torch.add(ints, ints, alpha=0.5)
    assert (torch.zeros(0, dtype=torch.int64) % torch.zeros(1, dtype=torch.int64)).shape == (0,)
    assert_agrees(torch.sign, jit.trace(lambda x: x.sign(), (floats,)), floats)
    assert floats.sign().tolist() == [1.0, 0.0]


def compares(x):  # type: ignore[no-untyped-def]
    n = x.shape[0]
    return x * (1 if n < 3 else 2) * (3 if n <= 3 else 5) * (7 if n > 4 else 11) * (13 if n >= 6 else 17) + min(4, n)


def is_one_of(x):  # type: ignore[no-untyped-def]
    n, m = x.shape
    return x * (2 if n == 3 else 3) + (5 if n != 4 else 7) + (11 if n < 5 else 13) + (17 if n else 19) + max(n, m)


@pytest.mark.parametrize("function", [compares, is_one_of])
@pytest.mark.parametrize("example", range(7))
def test_every_comparison_of_sizes_is_a_condition(function: Callable[..., Any], example: int) -> None:
    with jit.executor("interpreter"):
        compiled = jit.trace(function, (torch.ones(example, 4),), on_bake="ignore")
        for n in (*range(8), 0):
            assert array(compiled(torch.ones(n, 4))).tolist() == array(function(torch.ones(n, 4))).tolist()


def writes_through_permute(x):  # type: ignore[no-untyped-def]
    y = x * 1
    y.permute(2, 0, 1).select(2, 0).zero_()
    return y + x.permute(dims=(0, 1, 2))


def test_writes_through_a_permuted_view() -> None:
    x = torch.ones(2, 3, 4)
    assert_agrees(writes_through_permute, jit.script(writes_through_permute), x)
    assert_agrees(writes_through_permute, jit.trace(writes_through_permute, (x,)), x)
