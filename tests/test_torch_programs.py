"""What programs written for PyTorch ask for around the tensors: devices, settings, mixed precision, types by name."""

from typing import Any

import ingot
import pytest
from ingot import nn
from ingot.jit import FallbackWarning, ScriptError


def test_a_program_that_asks_for_a_gpu_goes_on_without_one() -> None:
    device = ingot.device("cuda" if ingot.cuda.is_available() else "cpu")
    assert ingot.ones(1, device=device).device == device
    assert ingot.cuda.device_count() == 0
    ingot.cuda.manual_seed_all(0)
    ingot.cuda.empty_cache()
    assert not ingot.backends.mps.is_available()
    ingot.backends.cudnn.benchmark = False
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        ingot.cuda.synchronize()
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        ingot.ones(1).to("cuda")
    assert ingot.version.cuda is None


def test_mixed_precision_that_is_switched_off() -> None:
    weight = ingot.ones(2, requires_grad=True)
    optimizer = ingot.optim.SGD([weight], lr=0.5)
    scaler = ingot.amp.GradScaler(enabled=False)
    with ingot.autocast("cuda", enabled=False):
        loss = (weight * 2).sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == [0.0, 0.0]
    with pytest.warns(UserWarning, match="has no effect"), ingot.autocast("cuda"):
        pass
    with pytest.raises(RuntimeError, match="autocast on the CPU is not supported: convert the model"):
        ingot.autocast("cpu")


def test_types_by_name_are_constructors_and_types() -> None:
    assert ingot.Tensor(2, 3).shape == (2, 3)
    assert ingot.Tensor([1, 2]).dtype is ingot.float32
    assert ingot.LongTensor([1, 2]).tolist() == [1, 2]
    assert ingot.FloatTensor(0, 4).shape == (0, 4)
    assert isinstance(ingot.ones(1), ingot.FloatTensor)
    assert not isinstance(ingot.ones(1), ingot.DoubleTensor)
    assert ingot.typename(ingot.ones(1, dtype=ingot.int64)) == "ingot.LongTensor"


def test_random_numbers_inside_a_fork_do_not_count() -> None:
    ingot.manual_seed(3)
    with ingot.random.fork_rng():
        inside = ingot.rand(3)
    assert ingot.equal(ingot.rand(3), inside)


def test_settings_that_hold_anyway() -> None:
    ingot.use_deterministic_algorithms(True)
    assert ingot.are_deterministic_algorithms_enabled()
    ingot.set_float32_matmul_precision("high")
    with pytest.raises(ValueError, match="'low', expected one of highest"):
        ingot.set_float32_matmul_precision("low")
    assert ingot.get_default_device() == ingot.device("cpu")
    assert ingot.inf > 1e308
    assert ingot.ones(3)[ingot.newaxis].shape == (1, 3)


def _unscriptable(x: Any) -> Any:
    import socket

    return x * len(socket.gethostname())


def test_compile_falls_back_and_says_so() -> None:
    layer = nn.Linear(3, 2)
    compiled = ingot.compile(layer)
    assert ingot.allclose(compiled(ingot.ones(1, 3)), layer(ingot.ones(1, 3)))
    assert len(list(compiled.parameters())) == 2
    with pytest.warns(FallbackWarning, match="runs as ordinary Python, because it cannot be scripted"):
        assert ingot.compile(_unscriptable)(ingot.ones(1)).shape == (1,)
    with pytest.raises(ScriptError):
        ingot.compile(_unscriptable, fullgraph=True)(ingot.ones(1))
    assert ingot.compile(_unscriptable, disable=True) is _unscriptable


@pytest.mark.parametrize(
    ("actual", "expected", "options", "message"),
    [
        (ingot.ones(2), ingot.ones(3), {}, r"'shape' do not match: ingot.Size\(\[2\]\) != ingot.Size\(\[3\]\)"),
        (ingot.ones(2), ingot.ones(2).double(), {}, "'dtype' do not match"),
        ([1.0, 2.0], [1.0], {}, "length of the sequences mismatch: 2 != 1"),
        ({"a": 1}, {"b": 1}, {}, "keys of the mappings do not match"),
        ({"a": ingot.ones(1)}, {"a": ingot.zeros(1)}, {}, r"Mismatched elements: 1 / 1 \(100.0%\)[^|]*item \['a'\]"),
        (ingot.tensor([float("nan")]), ingot.tensor([float("nan")]), {}, "not close"),
        (1.0, 1.1, {}, "Expected 1.1 but got 1.0"),
        (ingot.tensor([1, 2]), ingot.tensor([1, 3]), {}, r"not equal![^|]*difference: 1.0 at index \(1,\)\n"),
        (ingot.ones(1), ingot.zeros(1), {"msg": "mine"}, "^mine$"),
    ],
)
def test_assert_close_says_what_differs(actual: Any, expected: Any, options: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        ingot.testing.assert_close(actual, expected, **options)


def test_assert_close_passes() -> None:
    ingot.testing.assert_close(ingot.ones(2), ingot.ones(2) + 1e-7)
    ingot.testing.assert_close([1, {"a": ingot.ones(1)}], [1, {"a": ingot.ones(1)}])
    ingot.testing.assert_close(ingot.tensor(float("nan")), ingot.tensor(float("nan")), equal_nan=True)
    ingot.testing.assert_close(ingot.ones(1), ingot.ones(1).double(), check_dtype=False)
    ingot.testing.assert_close(ingot.tensor([float("inf")]), ingot.tensor([float("inf")]))
    with pytest.raises(ValueError, match="must both be specified"):
        ingot.testing.assert_close(1.0, 1.0, rtol=1.0)
