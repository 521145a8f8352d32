"""Hooks of modules around forward, backward, saving and loading; what a failed load leaves; checks of attributes."""

import copy
import pickle
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn


def test_forward_hooks_with_keywords_in_order_and_after_errors() -> None:
    seen: list[Any] = []

    class Scale(nn.Module):
        def forward(self, x: Any, by: float = 1.0) -> Any:
            if by < 0:
                raise ValueError("below 0")
            return x * by

    module = Scale()
    module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": kwargs["by"] + 1}), with_kwargs=True)
    module.register_forward_hook(lambda m, args, kwargs, out: seen.append(kwargs["by"]), with_kwargs=True)
    module.register_forward_hook(lambda m, args, out: seen.append("first"), prepend=True)
    always = module.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    assert module(ingot.ones(1), by=2.0).item() == 3.0
    assert seen[:2] == ["first", 3.0]
    seen.clear()
    with pytest.raises(ValueError, match="below 0"):
        module(ingot.ones(1), by=-3.0)
    assert seen == [None]
    always.remove()
    module.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="new_args, new_kwargs"):
        module(ingot.ones(1), by=1.0)


def test_backward_hooks_see_and_replace_gradients() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with ingot.no_grad():
        layer.weight.copy_(ingot.tensor([[2.0, 3.0]]))
    seen: list[Any] = []
    layer.register_full_backward_pre_hook(lambda m, out: (out[0] * 10,))
    layer.register_full_backward_hook(lambda m, into, out: seen.append((into[0].tolist(), out[0].tolist())))
    layer.register_full_backward_hook(lambda m, into, out: (into[0] + 1,))
    x = ingot.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert seen == [([[20.0, 30.0]], [[10.0]])]
    assert x.grad.tolist() == [[21.0, 31.0]]
    assert layer.weight.grad.tolist() == [[10.0, 10.0]]
    frozen = nn.Linear(2, 1)
    frozen.register_full_backward_hook(lambda m, into, out: seen.append(into))
    frozen(ingot.ones(1, 2)).sum().backward()
    assert seen[-1] == (None,)


def test_states_with_hooks_and_extra_state() -> None:
    class Counting(nn.Linear):
        count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    model = nn.Sequential(Counting(2, 2))
    model[0].count = 7
    model.register_state_dict_post_hook(lambda m, state, prefix, local: state.update({"note": 1}))
    model.register_load_state_dict_pre_hook(lambda m, state, *rest: state.pop("note"))
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "0._extra_state", "note"]
    other = nn.Sequential(Counting(2, 2))
    other.register_load_state_dict_pre_hook(lambda m, state, *rest: state.pop("note"))
    assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
    assert other[0].count == 7
    del state["0._extra_state"]
    with pytest.raises(RuntimeError, match=r"0\._extra_state"):
        other.load_state_dict(state)


def test_a_load_that_fails_changes_nothing_and_says_all() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = model[0].weight.tolist()
    state = model.state_dict()
    changed = {**state, "0.weight": ingot.zeros(2, 2), "1.bias": ingot.zeros(5), "9.x": ingot.zeros(1)}
    del changed["1.weight"]
    with pytest.raises(RuntimeError) as error:
        model.load_state_dict(changed)
    for part in ('Missing key(s) in state_dict: "1.weight"', '"9.x"', "size mismatch for 1.bias", "[5]"):
        assert part in str(error.value)
    assert model[0].weight.tolist() == before
    with pytest.raises(TypeError, match="dict-like"):
        model.load_state_dict([1])  # type: ignore[arg-type]
    wide = {k: v.double() for k, v in state.items()}
    model.load_state_dict(wide, assign=True)
    assert model[0].weight.dtype == ingot.float64 and model[0].weight.requires_grad


def test_old_states_of_batch_norm_have_no_count() -> None:
    norm = nn.BatchNorm1d(2)
    state = dict(norm.state_dict())
    del state["num_batches_tracked"]
    assert norm.load_state_dict(state).missing_keys == []


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda m: setattr(m, "weight", 3), TypeError, "cannot assign 'int' as parameter 'weight'"),
        (lambda m: setattr(m, "inner", 3), TypeError, "as child module 'inner'"),
        (lambda m: setattr(m, "mean", 3), TypeError, "as buffer 'mean'"),
        (lambda m: m.register_buffer("a.b", None), KeyError, "t contain"),
        (lambda m: m.register_buffer("", None), KeyError, "empty string"),
        (lambda m: m.register_parameter("forward", None), KeyError, "already exists"),
        (lambda m: m.register_parameter("p", nn.Parameter(ingot.ones(1)) * 2), TypeError, "Parameter"),
        (lambda m: m.add_module("x", 3), TypeError, "not a Module"),
        (lambda m: m.get_submodule("inner.nothing"), AttributeError, "nothing"),
        (lambda m: m.get_buffer("weight"), AttributeError, "not a buffer"),
        (lambda m: m.set_submodule("", nn.ReLU()), ValueError, "target name"),
        (lambda m: nn.Module(1), TypeError, "positional"),
        (lambda m: m.to(ingot.int64), TypeError, "floating point"),
    ],
)
def test_attributes_are_checked(act: Any, error: type[Exception], message: str) -> None:
    module = nn.Linear(2, 2)
    module.inner = nn.ReLU()
    module.register_buffer("mean", ingot.zeros(1))
    with pytest.raises(error, match=message):
        act(module)


def test_copies_pickles_and_containers() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.load_state_dict(model.state_dict()) == ([], [])
        assert other[0].weight is not model[0].weight
    model.insert(1, nn.ReLU()).extend([nn.Sigmoid()])
    del model[0]
    assert [type(m).__name__ for m in model + nn.Sequential(nn.ELU())] == [
        "ReLU", "BatchNorm1d", "Tanh", "Sigmoid", "ELU"
    ]  # fmt: skip
    assert type(model.pop(0)).__name__ == "ReLU" and len(model * 2) == 6
    weights = nn.ParameterList([ingot.zeros(2)]).append(ingot.ones(3))
    assert list(weights.state_dict()) == ["0", "1"] and all(isinstance(p, nn.Parameter) for p in weights)
    table = nn.ParameterDict({"a": ingot.zeros(1)}) | nn.ParameterDict({"b": ingot.ones(1)})
    assert list(table.keys()) == ["a", "b"] and len(list(table.parameters())) == 2
    assert table.pop("a").item() == 0 and "a" not in table


def test_tables_limit_lengths_and_scale_gradients() -> None:
    rows = ingot.tensor([[3.0, 4.0], [0.3, 0.4]])
    table = nn.Embedding.from_pretrained(rows.clone(), freeze=False, max_norm=1.0, scale_grad_by_freq=True)
    table(ingot.tensor([0, 0, 1])).sum().backward()
    np.testing.assert_allclose(table.weight.detach().numpy(), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(table.weight.grad.numpy(), [[1.0, 1.0], [1.0, 1.0]])
    bag = nn.EmbeddingBag.from_pretrained(rows, mode="sum", max_norm=1.0)
    np.testing.assert_allclose(bag(ingot.tensor([[0, 1]])).numpy(), [[0.9, 1.2]], rtol=1e-6)


def test_adaptive_softmax_is_a_softmax_over_all_classes() -> None:
    ingot.manual_seed(0)
    softmax = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 9, 15])
    x, target = ingot.randn(6, 8), ingot.tensor([0, 3, 4, 9, 19, 14])
    logs = softmax.log_prob(x)
    np.testing.assert_allclose(logs.exp().sum(1).detach().numpy(), np.ones(6), rtol=1e-5)
    output, loss = softmax(x, target)
    np.testing.assert_allclose(output.detach(), logs.gather(1, target.unsqueeze(1)).squeeze(1).detach(), rtol=1e-5)
    assert loss.item() == pytest.approx(-float(output.detach().mean()))
    assert softmax.predict(x).tolist() == logs.argmax(1).tolist()
    with pytest.raises(RuntimeError, match="in \\[0, 19\\]"):
        softmax(x, target + 5)
    with pytest.raises(ValueError, match="cutoffs"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 4])


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4)])
def test_orthogonal_weights_stay_so(kind: str, shape: tuple[int, int]) -> None:
    ingot.manual_seed(0)
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map=kind)
    optimizer = ingot.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (layer(ingot.randn(4, shape[1])) ** 2).sum().backward()
        optimizer.step()
    weight = layer.weight.detach().numpy()
    gram = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)
    wanted = np.linalg.qr(np.random.default_rng(0).standard_normal((max(shape), min(shape))))[0]
    wanted = (wanted if shape[0] >= shape[1] else wanted.T).astype(np.float32)
    layer.weight = ingot.tensor(wanted)
    np.testing.assert_allclose(layer.weight.detach().numpy(), wanted, atol=1e-5)


def test_pruning_masks_add_up_and_can_be_made_permanent() -> None:
    prune = nn.utils.prune
    layer = nn.Linear(4, 2)
    with ingot.no_grad():
        layer.weight.copy_(ingot.tensor([[1.0, -2.0, 3.0, -4.0], [5.0, -6.0, 7.0, -8.0]]))
    prune.l1_unstructured(layer, "weight", amount=0.25)
    assert layer.weight.tolist() == [[0, 0, 3, -4], [5, -6, 7, -8]]
    prune.ln_structured(layer, "weight", amount=1, n=1, dim=0)
    assert layer.weight.tolist() == [[0, 0, 0, 0], [5, -6, 7, -8]]
    assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_mask"] and prune.is_pruned(layer)
    layer(ingot.ones(1, 4)).sum().backward()
    assert layer.weight_orig.grad.tolist() == [[0.0] * 4, [1.0] * 4]
    prune.remove(layer, "weight")
    assert layer.weight.tolist() == [[0, 0, 0, 0], [5, -6, 7, -8]] and isinstance(layer.weight, nn.Parameter)
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(layer, "weight")
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    prune.global_unstructured([(first, "weight"), (second, "weight")], prune.L1Unstructured, amount=3)
    assert int((first.weight == 0).sum() + (second.weight == 0).sum()) == 3
