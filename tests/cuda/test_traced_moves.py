"""Traces and devices: modules that move after they were traced, and functions that move tensors."""

from collections.abc import Iterator

import ingot
import pytest
from ingot import jit, nn
from ingot.cuda import simulate
from ingot.jit import TraceError


@pytest.fixture(autouse=True)
def devices() -> Iterator[None]:
    with simulate(devices=2), jit.executor("interpreter"):
        yield


class Shifted(nn.Module):
    """A layer with a buffer of its own and one in a part."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.register_buffer("shift", ingot.arange(4.0))

    def forward(self, x: ingot.Tensor) -> ingot.Tensor:
        return self.layer(x) + self.shift


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_follows_its_module_to_other_devices_and_back(training: bool) -> None:
    module = Shifted().train(training)
    x = ingot.randn(5, 3)
    traced = jit.trace(module, (x,), check_trace=False, on_bake="ignore")
    for place in ("cpu", "cuda:0", "cuda:1", "cpu"):
        module.to(place)
        before = module.layer[1].running_mean.tolist()
        found = traced(x.to(place))
        after = module.layer[1].running_mean.tolist()
        assert found.device == place and (after != before) is training
        with ingot.no_grad():
            assert (found - module(x.to(place))).abs().max() < 1e-5


def test_buffers_that_are_replaced_are_the_ones_that_are_read() -> None:
    module = Shifted().eval()
    x = ingot.randn(2, 3)
    traced = jit.trace(module, (x,))
    first = traced(x)
    module.shift = module.shift + 1
    assert (traced(x) - first - 1).abs().max() < 1e-6


def test_what_is_made_inside_may_move_to_where_the_program_runs() -> None:
    traced = jit.trace(lambda x: x * 2 + ingot.ones(3).to(x.device), (ingot.ones(3).cuda(),))
    assert traced(ingot.full((3,), 2.0).cuda()).tolist() == [5.0] * 3


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (lambda x: (x * 2).cpu(), "cuda:0"),
        (lambda x: (x.cpu() * 2).cuda() + x, "cuda:0"),
        (lambda x: x.to("cuda") * 2, "cpu"),
        (lambda x: x.cuda(1), "cuda:0"),
        (lambda x: x[1:].cpu(), "cuda:0"),
    ],
)
def test_programs_run_on_one_device(function: object, start: str) -> None:
    with pytest.raises(TraceError, match=r"is moved to .* runs on .*one device") as error:
        jit.trace(function, (ingot.ones(3, device=start),), check_trace=False)
    assert "move the arguments before the call, or the results after it" in str(error.value)
