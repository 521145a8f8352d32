"""What goes with layers: lazy sizes, parametrisations, attention masks, clipping, initial values, random layers."""

import math
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn
from ingot.nn import functional as F
from ingot.nn.utils import parametrizations, parametrize


def test_lazy_layers_become_plain_ones() -> None:
    cases: list[tuple[Any, tuple[int, ...], str]] = [
        (nn.LazyLinear(4), (2, 3), "Linear"),
        (nn.LazyConv1d(4, 3, padding=1), (2, 3, 5), "Conv1d"),
        (nn.LazyConv2d(4, 3, groups=2), (2, 6, 5, 5), "Conv2d"),
        (nn.LazyConvTranspose3d(4, 2), (3, 2, 2, 2), "ConvTranspose3d"),
        (nn.LazyBatchNorm2d(), (2, 3, 4, 4), "BatchNorm2d"),
        (nn.LazyInstanceNorm1d(affine=True, track_running_stats=True), (2, 3, 4), "InstanceNorm1d"),
    ]
    for layer, shape, name in cases:
        assert layer.has_uninitialized_params()
        layer(ingot.randn(*shape)).sum().backward()
        assert type(layer).__name__ == name and type(layer.weight) is nn.Parameter
        assert layer.weight.grad is not None
    loaded = nn.LazyLinear(2)
    source = nn.Linear(3, 2)
    loaded.load_state_dict(source.state_dict())
    x = ingot.randn(4, 3)
    assert (loaded(x) == source(x)).all()


class Positive(nn.Module):
    """exp, with its inverse."""

    def forward(self, x: Any) -> Any:
        return x.exp()

    def right_inverse(self, x: Any) -> Any:
        return x.log()


def test_a_parametrised_weight_is_learnt_by_its_original() -> None:
    layer = nn.Linear(2, 2)
    with ingot.no_grad():
        layer.weight.fill_(0.5)
    parametrize.register_parametrization(layer, "weight", Positive())
    np.testing.assert_allclose(layer.weight.detach().numpy(), 0.5, rtol=1e-6)
    assert [n for n, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    layer(ingot.ones(1, 2)).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None
    layer.weight = ingot.ones(2, 2) * 3
    np.testing.assert_allclose(layer.weight.detach().numpy(), 3.0, rtol=1e-6)
    with parametrize.cached():
        assert layer.weight is layer.weight
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and not parametrize.is_parametrized(layer)
    np.testing.assert_allclose(layer.weight.detach().numpy(), 3.0, rtol=1e-6)
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(layer, "missing", Positive())


@pytest.mark.parametrize("normalise", [nn.utils.weight_norm, parametrizations.weight_norm])
def test_weight_norm_changes_nothing_at_first_and_can_be_removed(normalise: Any) -> None:
    layer = nn.Conv2d(2, 3, 2)
    x = ingot.randn(1, 2, 4, 4)
    before = layer(x).detach().numpy()
    normalise(layer)
    np.testing.assert_allclose(layer(x).detach().numpy(), before, rtol=1e-5, atol=1e-6)
    if normalise is nn.utils.weight_norm:
        assert sorted(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
        nn.utils.remove_weight_norm(layer)
    else:
        parametrize.remove_parametrizations(layer, "weight")
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(layer(x).detach().numpy(), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalise", [nn.utils.spectral_norm, parametrizations.spectral_norm])
def test_spectral_norm_makes_the_largest_singular_value_one(normalise: Any) -> None:
    layer = normalise(nn.Linear(5, 4), n_power_iterations=30)
    layer(ingot.ones(1, 5))
    largest = np.linalg.svd(layer.weight.detach().numpy(), compute_uv=False)[0]
    assert largest == pytest.approx(1.0, abs=1e-3)


def test_attention_masks_hide_what_they_name() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True)
    x = ingot.randn(2, 3, 4)
    ahead = ingot.ones(3, 3).triu(1).bool()
    padding = ingot.tensor([[False, False, True], [False, False, False]])
    _, weights = attention(x, x, x, attn_mask=ahead, key_padding_mask=padding)
    assert (weights[:, 0, 1:] == 0).all() and (weights[0, :, 2] == 0).all() and (weights[1, 2, 2] > 0).all()
    np.testing.assert_allclose(weights.sum(-1).detach().numpy(), 1.0, rtol=1e-5)
    causal = nn.Transformer.generate_square_subsequent_mask(3)
    without, none = attention(x, x, x, attn_mask=causal, need_weights=False)
    assert none is None
    np.testing.assert_allclose(
        without.detach().numpy(), attention(x, x, x, attn_mask=ahead)[0].detach().numpy(), rtol=1e-4, atol=1e-6
    )
    with pytest.raises(RuntimeError, match="2D attn_mask"):
        attention(x, x, x, attn_mask=ahead[:2])


def test_gradients_are_clipped_together() -> None:
    first, second = nn.Parameter(ingot.zeros(2)), nn.Parameter(ingot.zeros(1))
    first.grad, second.grad = ingot.tensor([3.0, 0.0]), ingot.tensor([4.0])
    assert nn.utils.clip_grad_norm_([first, second], 2.5).item() == pytest.approx(5.0)
    assert first.grad.tolist() == pytest.approx([1.5, 0.0]) and second.grad.tolist() == pytest.approx([2.0])
    assert nn.utils.clip_grad_norm_([first, second], 10.0, norm_type=math.inf).item() == pytest.approx(2.0)
    nn.utils.clip_grad_value_([first], 0.5)
    assert first.grad.tolist() == [0.5, 0.0]
    first.grad = ingot.tensor([math.nan, 0.0])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_([first], 1.0, error_if_nonfinite=True)


def test_vectors_of_parameters() -> None:
    model = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector * 0 + 2, model.parameters())
    assert vector.shape == (9,) and (model.weight == 2).all()
    with pytest.raises(RuntimeError, match="9 elements"):
        nn.utils.vector_to_parameters(vector[:3], model.parameters())


def test_a_folded_batch_norm_computes_the_same() -> None:
    conv, norm = nn.Conv2d(2, 3, 3, bias=False).eval(), nn.BatchNorm2d(3)
    norm(ingot.randn(4, 3, 5, 5))
    norm.eval()
    x = ingot.randn(1, 2, 6, 6)
    fused = nn.utils.fuse_conv_bn_eval(conv, norm)
    np.testing.assert_allclose(fused(x).detach().numpy(), norm(conv(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="evaluation"):
        nn.utils.fuse_conv_bn_eval(conv, nn.BatchNorm2d(3))


def test_initial_values() -> None:
    ingot.manual_seed(0)
    flat = nn.init.orthogonal_(ingot.empty(3, 5), gain=2.0).numpy()
    np.testing.assert_allclose(flat @ flat.T, 4 * np.eye(3), atol=1e-5)
    cut = nn.init.trunc_normal_(ingot.empty(2000), std=2.0, a=-1.0, b=1.5).numpy()
    assert cut.min() >= -1 and cut.max() <= 1.5 and cut.std() > 0.5
    weight = nn.init.dirac_(ingot.empty(4, 2, 3), groups=2)
    x = ingot.randn(1, 4, 5)
    np.testing.assert_allclose(F.conv1d(x, weight, padding=1, groups=2).numpy(), x.numpy())
    assert (nn.init.eye_(ingot.empty(2, 3)) == ingot.eye(2, 3)).all()
    assert ((nn.init.sparse_(ingot.empty(10, 4), 0.3) == 0).sum(0) == 3).all()
    with pytest.raises(ValueError, match="2 or more"):
        nn.init.orthogonal_(ingot.empty(3))


def test_dropped_channels_are_dropped_whole() -> None:
    ingot.manual_seed(0)
    x = ingot.ones(50, 4, 3, 2)
    found = nn.Dropout2d(0.4)(x).numpy().reshape(200, 6)
    assert set(found[:, 0].tolist()) == {0.0, np.float32(1 / 0.6).item()}
    assert (found == found[:, :1]).all() and 0.3 < (found[:, 0] == 0).mean() < 0.5
    kept = nn.AlphaDropout(0.3)(ingot.randn(20000)).numpy()
    assert abs(kept.mean()) < 0.05 and abs(kept.std() - 1) < 0.05
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout3d(1.5)


def test_maxima_go_back_to_their_places() -> None:
    x = ingot.randn(2, 3, 4, 6)
    values, places = F.max_pool2d(x, 2, return_indices=True)
    back = nn.MaxUnpool2d(2)(values, places)
    assert back.shape == x.shape and ((back == x) | (back == 0)).all() and (back != 0).sum() == values.numel()
    with pytest.raises(ValueError, match="output_size"):
        F.max_unpool2d(values, places, 2, output_size=(9, 9))


def test_drawn_categories() -> None:
    ingot.manual_seed(0)
    logits = ingot.tensor([[0.0, math.log(3.0)]]).expand(4000, 2).clone().requires_grad_()
    hard = F.gumbel_softmax(logits, hard=True)
    assert ((hard == 0) | (hard > 0.999)).all() and abs(hard[:, 1].mean().item() - 0.75) < 0.03
    (hard[:, 1]).sum().backward()
    assert (logits.grad != 0).any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: nn.Conv3d(2, 4, 2)(ingot.ones(1, 3, 4, 4, 4)), RuntimeError, "channels"),
        (lambda: nn.Conv3d(1, 1, 5)(ingot.ones(1, 1, 4, 4, 4)), RuntimeError, "does not fit"),
        (lambda: nn.Conv1d(3, 4, 2, groups=2), ValueError, "divisible"),
        (lambda: nn.Conv2d(3, 4, 2, padding_mode="edge"), ValueError, "padding_mode"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "divisible"),
        (lambda: nn.InstanceNorm2d(3)(ingot.ones(2, 3, 1, 1)), ValueError, "more than 1 spatial"),
        (lambda: nn.Fold(4, 2)(ingot.ones(1, 5, 9)), RuntimeError, "multiple"),
        (lambda: nn.Unfold(5)(ingot.ones(1, 1, 4, 4)), RuntimeError, "do not fit"),
        (lambda: nn.Bilinear(2, 3, 1)(ingot.ones(1, 2), ingot.ones(2, 3)), RuntimeError, "do not match"),
        (lambda: nn.EmbeddingBag(3, 2)(ingot.tensor([0, 1])), ValueError, "offsets"),
        (lambda: nn.CTCLoss()(ingot.ones(2, 1, 3), ingot.tensor([[1]]), [3], [1]), RuntimeError, "at most 2"),
        (lambda: nn.MultiheadAttention(5, 2), AssertionError, "divisible"),
        (lambda: nn.HuberLoss(delta=0.0), ValueError, "non-positive"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_names_from_before() -> None:
    weight = ingot.empty(2, 3)
    with pytest.warns(FutureWarning, match="in favor of `nn.init.constant_`"):
        assert nn.init.constant(weight, 2.0) is weight
    assert weight.tolist() == [[2.0] * 3] * 2
    for rank, layer in enumerate((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), 1):
        x = ingot.randn(2, 3, *[6] * rank)
        expected = layer(2, return_indices=True)(x)
        adaptive = getattr(F, f"adaptive_max_pool{rank}d_with_indices")(x, 3)
        for found in (getattr(F, f"max_pool{rank}d_with_indices")(x, 2), adaptive):
            for mine, theirs in zip(found, expected, strict=True):
                assert ingot.equal(mine, theirs)
