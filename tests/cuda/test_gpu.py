"""On a real GPU (`make gpu-check`): every op's samples, training, memory, streams and compiled programs."""

import warnings
from collections.abc import Iterator

import ingot
import numpy as np
import pytest
from ingot import nn, optim
from ingot.nn import functional as F
from test_device_records import ON_HOST, TENSOR_OPS, assert_same, outcome

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[None]:
    if not ingot.cuda.is_available() or ingot.cuda.backends.is_simulated():
        pytest.skip(ingot.cuda.unavailable_reason() or "the GPU is the stand-in")
    yield
    ingot.cuda.empty_cache()


def test_samples_of_every_op_compute_the_same() -> None:
    failures = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ingot.cuda.HostFallbackWarning)
        for op in TENSOR_OPS:
            for index, sample in enumerate(op.samples()):
                tolerance = max(sample.tolerance or 0.0, 2e-4)  # functions and orders of sums differ
                try:
                    expected, found = outcome(op, index, "cpu"), outcome(op, index, "cuda")
                    assert_same(expected[0], found[0], tolerance)
                    assert_same(expected[1], found[1], 1e-3)
                except Exception as error:
                    failures.append(f"{op.name}, sample {index}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


def test_few_ops_run_on_the_host() -> None:
    assert ingot.cuda.host_ops() <= ON_HOST, f"without a form on this GPU: {ingot.cuda.host_ops() - ON_HOST}"


def _losses(device: str, compiled: bool) -> list[float]:
    ingot.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)).to(device)
    optimiser = optim.Adam(model.parameters(), lr=1e-2)
    inputs, targets = ingot.randn(16, 1, 8, 8, device=device), ingot.randint(0, 10, (16,), device=device)
    step = ingot.compile(model) if compiled else model
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = F.cross_entropy(step(inputs), targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("compiled", [False, True])
def test_training_gives_the_losses_of_the_cpu(compiled: bool) -> None:
    np.testing.assert_allclose(_losses("cuda", compiled), _losses("cpu", False), rtol=1e-3)


def test_compiled_programs() -> None:
    model = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True).eval()
    x = ingot.randn(2, 7, 32)
    with ingot.no_grad():
        expected = model(x)
        model.cuda()
        traced = ingot.jit.trace(model, (x.cuda(),), check_trace=False)
        for _ in range(3):  # the first calls run, later ones replay a captured graph
            np.testing.assert_allclose(traced(x.cuda()).cpu().numpy(), expected.numpy(), rtol=1e-3, atol=1e-4)


def test_memory_streams_and_events() -> None:
    before = ingot.cuda.memory_allocated()
    x = ingot.ones(1 << 20, device="cuda")
    assert ingot.cuda.memory_allocated() - before >= 4 << 20 <= ingot.cuda.max_memory_allocated()
    side, start, end = ingot.cuda.Stream(), *(ingot.cuda.Event(enable_timing=True) for _ in range(2))
    side.wait_stream(ingot.cuda.current_stream())
    with ingot.cuda.stream(side):
        start.record()
        y = x * 2
        end.record()
    ingot.cuda.current_stream().wait_stream(side)
    ingot.cuda.synchronize()
    assert start.elapsed_time(end) > 0 and y.sum().item() == 1 << 21
    with pytest.raises(ingot.cuda.OutOfMemoryError, match="CUDA out of memory"):
        ingot.empty(1 << 45, device="cuda")
    assert x.sum().item() == 1 << 20


def test_memory_is_shared_with_cupy() -> None:
    cupy = pytest.importorskip("cupy")
    array = cupy.arange(6, dtype=cupy.float32)
    tensor = ingot.as_tensor(array)
    tensor.add_(1)
    assert float(array[0]) == 1.0 and tensor.data_ptr() == array.data.ptr
    assert float(cupy.asarray(tensor)[5]) == 6.0 and ingot.from_dlpack(array).device == tensor.device
    assert cupy.from_dlpack(tensor).data.ptr == tensor.data_ptr()
