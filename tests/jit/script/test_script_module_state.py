"""Numbers in attributes of modules that programs assign: kept from call to call, as undecorated."""

import warnings
from pathlib import Path
from typing import Any

import ingot
import pytest
from ingot import jit, nn

v = ingot.tensor([1.0, 2.0, 3.0])


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 10

    def forward(self, x: Any) -> Any:
        self.n -= 1
        return x * self.n


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls, self.average, self.warm = 0, 0.5, False
        self.inner = Inner()

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.calls % 2 == 0:
            self.average = self.average * 0.9 + float(x.sum()) * 0.1
            self.warm = True
        for i in range(self.calls):
            self.inner.n += i
        if self.warm:
            x = x + self.average
        return self.inner(x) * self.calls, self.calls, self.average, self.warm


def state(module: Counted) -> tuple[Any, ...]:
    return module.calls, module.average, module.warm, module.inner.n


def agree(one: Any, other: Any) -> None:
    assert one[1:] == other[1:] and [type(a) for a in one] == [type(b) for b in other]
    assert ingot.equal(one[0], other[0])


@pytest.mark.parametrize("executor", ["interpreter", "python", "native"])
def test_numbers_are_kept_from_call_to_call(executor: str, tmp_path: Path) -> None:
    plain, module = Counted(), Counted()
    scripted = jit.script(module)
    with jit.executor(executor), warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (v, v, v * 2, v):
            agree(plain(x), scripted(x))
            assert state(plain) == state(module)
        plain.calls = module.calls = 8
        agree(plain(v), scripted(v))
        assert len(scripted.specialisations) == 1
        inputs = [v.clone().requires_grad_() for _ in range(2)]
        for call, x in zip((plain, scripted), inputs, strict=True):
            call(x)[0].sum().backward()
        assert inputs[0].grad is not None and inputs[1].grad is not None
        assert ingot.equal(inputs[0].grad, inputs[1].grad) and state(plain) == state(module)
    scripted.save(tmp_path / "counted.ingot")
    loaded = jit.load(tmp_path / "counted.ingot")
    for _ in range(2):
        agree(plain(v), loaded(v))


def test_a_number_keeps_its_type() -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = 1

        def forward(self, x: Any) -> Any:
            self.n = 0.5
            return x

    with pytest.raises(jit.ScriptError, match=r"attribute 'n' of Changing is int and cannot become float \(0.5\)"):
        jit.script(Changing())(v)
