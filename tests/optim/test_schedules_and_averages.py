"""Plateaus, saved schedules, averages of weights, and arguments that optimisers refuse."""

from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn, optim
from ingot.optim import lr_scheduler, swa_utils


def optimiser(lr: float = 1.0) -> optim.SGD:
    return optim.SGD([nn.Parameter(ingot.ones(1))], lr=lr)


def test_a_plateau_lowers_the_rate() -> None:
    o = optimiser()
    plateau = lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    rates = []
    for loss in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1]:
        plateau.step(loss)
        rates.append(plateau.get_last_lr()[0])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    with pytest.warns(UserWarning, match="NaN"):
        plateau.step(float("nan"))


@pytest.mark.parametrize(
    "make",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
        lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=9, cycle_momentum=False),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o, 0.1, 9), lr_scheduler.ExponentialLR(o, 0.9)], [2]
        ),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    ],
)
def test_a_saved_schedule_goes_on(make: Any) -> None:
    def steps(scheduler: Any, count: int) -> list[float]:
        found = []
        for _ in range(count):
            scheduler.optimizer.step()
            scheduler.step(*([1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
            found.append(scheduler.optimizer.param_groups[0]["lr"])
        return found

    first = optimiser()
    scheduler = make(first)
    steps(scheduler, 3)
    saved = scheduler.state_dict(), first.state_dict()
    expected = steps(scheduler, 4)
    second = optimiser()
    resumed = make(second)
    second.load_state_dict(saved[1])
    resumed.load_state_dict(saved[0])
    assert steps(resumed, 4) == expected


def test_averages_of_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    swa = swa_utils.AveragedModel(model)
    ema = swa_utils.AveragedModel(model, avg_fn=swa_utils.get_ema_avg_fn(0.5))
    for value in (1.0, 2.0, 6.0):
        with ingot.no_grad():
            model.weight.fill_(value)
        swa.update_parameters(model)
        ema.update_parameters(model)
    assert swa.module.weight.item() == pytest.approx(3.0)
    assert ema.module.weight.item() == pytest.approx(0.5 * (0.5 * 1 + 0.5 * 2) + 0.5 * 6)
    assert int(swa.n_averaged) == 3
    rates = swa_utils.SWALR(o := optimiser(), swa_lr=0.1, anneal_epochs=2, anneal_strategy="linear")
    for _ in range(3):
        o.step()
        rates.step()
    assert o.param_groups[0]["lr"] == pytest.approx(0.1)


def test_statistics_are_recomputed() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2)).eval()
    data = [ingot.randn(6, 2) + 3 for _ in range(4)]
    swa_utils.update_bn(data, model)
    expected = np.mean([x.numpy().mean(0) for x in data], axis=0)
    np.testing.assert_allclose(model[0].running_mean.numpy(), expected, rtol=1e-5)
    assert not model.training and model[0].momentum == 0.1


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda p: optim.Adagrad(p, lr=-1.0), ValueError, "lr"),
        (lambda p: optim.Adadelta(p, rho=1.5), ValueError, "rho"),
        (lambda p: optim.NAdam(p, betas=(0.9, 1.0)), ValueError, "beta"),
        (lambda p: optim.Rprop(p, etas=(1.5, 1.2)), ValueError, "eta"),
        (lambda p: optim.LBFGS(p, line_search_fn="armijo"), RuntimeError, "strong_wolfe"),
        (lambda p: optim.LBFGS(p).step(), TypeError, "closure"),
        (lambda p: optim.LBFGS([{"params": p}, {"params": [nn.Parameter(ingot.ones(1))]}]), ValueError, "groups"),
        (lambda p: lr_scheduler.StepLR(3, 1), TypeError, "Optimizer"),
        (lambda p: lr_scheduler.LambdaLR(optim.SGD(p), [abs, abs]), ValueError, "same length"),
        (lambda p: lr_scheduler.OneCycleLR(optim.SGD(p), 0.1), ValueError, "total_steps"),
        (lambda p: lr_scheduler.SequentialLR(optim.SGD(p), [], []), ValueError, "at least one"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD(p), factor=1.0), ValueError, "Factor"),
    ],
)
def test_arguments_that_are_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call([nn.Parameter(ingot.ones(1))])


def test_a_schedule_that_goes_before_the_optimiser_says_so() -> None:
    scheduler = lr_scheduler.StepLR(optimiser(), 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    scheduler.optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(5)
    assert scheduler.get_last_lr()[0] == pytest.approx(1e-5)
