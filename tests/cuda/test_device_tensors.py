"""Tensors on a simulated GPU: where they live, how they get there, what mixes, and what is refused."""

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import ingot
import numpy as np
import pytest
from ingot import nn
from ingot.cuda import Simulator

MIXED = "Expected all tensors to be on the same device, but found at least two devices"


@pytest.fixture(autouse=True)
def gpu() -> Iterator[Simulator]:
    """Two simulated GPUs for every test."""
    with ingot.cuda.simulate(devices=2) as simulated:
        yield simulated


def on_gpu(*shape: int, requires_grad: bool = False) -> ingot.Tensor:
    return ingot.arange(float(np.prod(shape))).reshape(shape).cuda().requires_grad_(requires_grad)


# -- devices -----------------------------------------------------------------------------------------------------------


def test_names_of_devices() -> None:
    assert str(ingot.device("cuda")) == "cuda" and str(ingot.device("cuda:1")) == "cuda:1"
    assert repr(ingot.device("cuda", 1)) == "device(type='cuda', index=1)"
    assert ingot.device(1) == ingot.device("cuda:1") == "cuda:1"
    assert ingot.device(type="cuda", index=0) != ingot.device("cuda")
    assert len({ingot.device("cuda:0"), ingot.device("cuda", 0), ingot.device("cpu")}) == 2
    assert pickle.loads(pickle.dumps(ingot.device("cuda:1"))) == ingot.device("cuda:1")
    assert copy.deepcopy(ingot.device("cpu")) == ingot.device("cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tpu",), "Expected one of cpu, cuda"),
        (("cuda:x",), "Invalid device string: 'cuda:x'"),
        (("cuda:",), "Invalid device string"),
        (("cuda:0", 1), "must not include an index"),
        (("cuda", -1), "negative"),
    ],
)
def test_names_that_are_none(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        ingot.device(*arguments)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(RuntimeError, match=r"invalid device ordinal.*there are 2"):
        ingot.ones(1, device="cuda:2")
    with pytest.raises(TypeError, match="expected a name"):
        ingot.ones(1, device=1.5)


FACTORIES = [
    ("zeros", (2, 3)), ("ones", (2, 3)), ("empty", (2, 3)), ("full", ((2, 3), 7)), ("rand", (2, 3)), ("randn", (2, 3)),
    ("arange", (5,)), ("linspace", (0, 1, 4)), ("logspace", (0, 1, 4)), ("eye", (3,)), ("randint", (0, 9, (4,))),
    ("randperm", (6,)), ("tensor", ([1, 2],)), ("as_tensor", ([1.0, 2.0],)), ("asarray", ([1.0],)),
    ("scalar_tensor", (2.0,)), ("tril_indices", (3, 3)), ("triu_indices", (3, 3)), ("empty_strided", ((2, 2), (1, 2))),
    ("hann_window", (4,)), ("normal", (0.0, 1.0, (3,))), ("range", (1, 3)), ("empty_permuted", ((2, 3), (1, 0))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), FACTORIES, ids=[name for name, _ in FACTORIES])
def test_factories_make_the_same_on_a_device(name: str, arguments: tuple[Any, ...]) -> None:
    factory = getattr(ingot, name)
    ingot.manual_seed(3)
    on_cpu = factory(*arguments)
    ingot.manual_seed(3)
    made = factory(*arguments, device="cuda:1")
    ingot.manual_seed(3)
    with ingot.device("cuda:1"):
        by_context = factory(*arguments)
    assert on_cpu.device == ingot.device("cpu")
    for result in (made, by_context):
        assert result.device == ingot.device("cuda:1") and result.is_cuda and result.get_device() == 1
        assert result.dtype is on_cpu.dtype and result.stride() == on_cpu.stride()
        if "empty" not in name:
            np.testing.assert_array_equal(result.cpu().numpy(), on_cpu.numpy())


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "rand_like", "randn_like", "empty_like"])
def test_like_factories_follow_their_operand(name: str) -> None:
    x = ingot.ones(2, 3, device="cuda:1")
    assert getattr(ingot, name)(x).device == "cuda:1"
    assert getattr(ingot, name)(x, device="cpu").device == "cpu"
    assert ingot.full_like(x, 2.0).device == ingot.randint_like(x, 3).device == "cuda:1"


def test_new_tensors_follow_the_tensor() -> None:
    x = ingot.ones(2, device="cuda:1")
    for made in (x.new_zeros(3), x.new_ones(3), x.new_full((2,), 1.0), x.new_empty(2), x.new_tensor([1, 2])):
        assert made.device == "cuda:1"
    assert x.new_zeros(3, device="cpu").device == "cpu"


def test_default_device_by_context_and_for_good() -> None:
    with ingot.device("cuda:1"):
        assert ingot.ones(1).device == ingot.get_default_device() == "cuda:1"
        with ingot.device("cpu"):
            assert ingot.ones(1).device == "cpu"
        assert ingot.ones(1, device="cpu").device == "cpu"
    assert ingot.ones(1).device == "cpu"
    ingot.set_default_device("cuda")
    try:
        assert ingot.ones(1).device == "cuda:0" and nn.Linear(2, 3).weight.device == "cuda:0"
    finally:
        ingot.set_default_device("cpu")
    assert ingot.ones(1).device == "cpu"

    @ingot.device("cuda")
    def made() -> ingot.Tensor:
        return ingot.zeros(1)

    assert made().device == "cuda:0"


def test_cuda_means_the_current_device() -> None:
    with ingot.cuda.device(1):
        assert ingot.cuda.current_device() == 1 and ingot.ones(1, device="cuda").device == "cuda:1"
        assert ingot.ones(1).cuda().device == "cuda:1"
    assert ingot.cuda.current_device() == 0
    ingot.cuda.set_device("cuda:1")
    assert ingot.ones(1, device="cuda").device == "cuda:1"
    ingot.cuda.set_device(0)
    with ingot.cuda.device_of(ingot.ones(1, device="cuda:1")):
        assert ingot.cuda.current_device() == 1


def test_types_by_name() -> None:
    made = ingot.cuda.FloatTensor([1.0, 2.0])
    assert made.device == "cuda:0" and isinstance(made, ingot.cuda.FloatTensor)
    assert not isinstance(made, ingot.FloatTensor) and not isinstance(made.cpu(), ingot.cuda.FloatTensor)
    assert ingot.cuda.LongTensor(2, 3).shape == (2, 3) and ingot.cuda.HalfTensor(made.cpu()).dtype is ingot.float16
    assert ingot.typename(made) == made.type() == "ingot.cuda.FloatTensor"
    ingot.set_default_tensor_type("torch.cuda.DoubleTensor")
    try:
        assert ingot.zeros(1).device == "cuda:0" and ingot.zeros(1).dtype is ingot.float64
    finally:
        ingot.set_default_tensor_type(ingot.FloatTensor)
    assert ingot.zeros(1).device == "cpu" and ingot.zeros(1).dtype is ingot.float32


# -- moving ------------------------------------------------------------------------------------------------------------


def test_every_way_to_move_a_tensor() -> None:
    x = ingot.arange(6.0).reshape(2, 3)
    moved = [
        x.to("cuda"), x.to(ingot.device("cuda:0")), x.cuda(), x.cuda(0), x.cuda("cuda:0"), x.to(0), x.to(device="cuda"),
        x.to("cuda", non_blocking=True), x.cuda(non_blocking=True), x.to(ingot.ones(1, device="cuda")),
        x.to_device("cuda"),
    ]  # fmt: skip
    for y in moved:
        assert y.device == "cuda:0" and y.dtype is x.dtype
        assert ingot.equal(y.cpu(), x)
    y = x.to("cuda:1", ingot.float64)
    assert y.device == "cuda:1" and y.dtype is ingot.float64
    assert y.to("cuda:0").device == "cuda:0"
    assert x.to(y).dtype is ingot.float64 and x.to(y).device == x.type_as(y).device == "cuda:1"
    assert y.to("cuda:1") is y and y.cuda(1) is y and x.cpu() is x and y.to("cuda:1", copy=True) is not y
    with pytest.raises(RuntimeError, match="must be cuda device"):
        x.cuda("cpu")


def test_memory_formats_survive() -> None:
    x = ingot.arange(24.0).reshape(1, 2, 3, 4)
    y = x.to("cuda", memory_format=ingot.channels_last)
    assert y.is_contiguous(memory_format=ingot.channels_last) and y.stride() == (24, 1, 8, 2)
    assert ingot.equal(y.cpu(), x)
    assert x.transpose(2, 3).cuda().stride() == x.transpose(2, 3).stride()


def test_gradients_come_back_to_where_the_leaf_is() -> None:
    x = ingot.ones(3, requires_grad=True)
    y = x.cuda()
    assert y.requires_grad and not y.is_leaf and y.grad_fn.name() == "ToCopyBackward0"
    (y * ingot.tensor([1.0, 2.0, 3.0], device="cuda")).sum().cpu().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [1.0, 2.0, 3.0]
    scale = ingot.tensor(2.0, requires_grad=True)  # of rank 0, on the CPU
    (ingot.ones(4, device="cuda") * scale).sum().backward()
    assert scale.grad.device == "cpu" and scale.grad.item() == 4.0
    (second,) = ingot.autograd.grad((x.cuda() ** 3).sum(), x, create_graph=True)
    assert ingot.autograd.grad(second.sum(), x)[0].tolist() == [6.0, 6.0, 6.0]


def test_leaves_on_the_device() -> None:
    w = on_gpu(2, 3, requires_grad=True)
    loss = (w * w).sum()
    assert loss.device == "cuda:0"
    loss.backward()
    loss = (w * 2).sum()
    loss.backward()
    assert w.grad.device == "cuda:0"
    np.testing.assert_array_equal(w.grad.cpu().numpy(), 2 * np.arange(6.0).reshape(2, 3) + 2)
    with pytest.raises(RuntimeError, match="different device"):
        w.grad = ingot.zeros(2, 3)
    with pytest.raises(RuntimeError, match=MIXED):
        (w * 2).backward(ingot.ones(2, 3))


# -- mixing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: a + b,
        lambda a, b: b + a,
        lambda a, b: a @ b.T,
        lambda a, b: a.add_(b),
        lambda a, b: b.mul_(a),
        lambda a, b: ingot.cat([a, b]),
        lambda a, b: ingot.where(a > 0, a, b),
        lambda a, b: nn.functional.mse_loss(a, b),
        lambda a, b: a.index_select(0, ingot.tensor([0])),
        lambda a, b: a.gather(1, ingot.tensor([[0]])),
        lambda a, b: ingot.add(a, a, out=b),
        lambda a, b: a.masked_fill(b > 0, 1.0),
    ],
)
def test_devices_do_not_mix(call: Any) -> None:
    with pytest.raises(RuntimeError, match=MIXED):
        call(on_gpu(2, 3), ingot.ones(2, 3))
    with pytest.raises(RuntimeError, match=MIXED):
        call(on_gpu(2, 3), ingot.ones(2, 3, device="cuda:1"))


def test_the_message_names_the_devices() -> None:
    with pytest.raises(RuntimeError, match=r"two devices, cuda:0 and cpu!"):
        on_gpu(2) + ingot.ones(2)
    with pytest.raises(RuntimeError, match=r"two devices, cuda:0 and cuda:1!"):
        on_gpu(2) + ingot.ones(2, device="cuda:1")


def test_numbers_and_tensors_of_rank_0_mix() -> None:
    x = on_gpu(3)
    for result in (x * 2, 2 * x, x * ingot.tensor(2.0), ingot.tensor(2.0) * x, x * np.float32(2)):
        assert result.device == "cuda:0" and result.tolist() == [0.0, 2.0, 4.0]
    assert (ingot.tensor(1.0) + ingot.tensor(1.0, device="cuda")).device == "cuda:0"
    assert x.add_(ingot.tensor(1.0)).tolist() == [1.0, 2.0, 3.0]
    assert ingot.where(x > 1, x, ingot.tensor(0.0)).device == "cuda:0"
    y = ingot.zeros(3)
    with pytest.raises(RuntimeError, match=MIXED):
        y.add_(x)


def test_indices_may_be_on_the_cpu() -> None:
    x = on_gpu(3, 4)
    assert x[ingot.tensor([2, 0])].tolist() == [[8.0, 9.0, 10.0, 11.0], [0.0, 1.0, 2.0, 3.0]]
    assert x[ingot.tensor([True, False, True])].device == "cuda:0"
    assert x[ingot.tensor(1)].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert x[ingot.tensor(0, device="cuda") : ingot.tensor(2)].shape == (2, 4)
    x[ingot.tensor([0])] = 5.0
    assert x[0].tolist() == [5.0] * 4
    assert ingot.ones(3)[ingot.tensor(1, device="cuda")].device == "cpu"
    for indexed, index in (
        (ingot.ones(3), ingot.tensor([0], device="cuda")), (x, ingot.tensor([0], device="cuda:1")),
        (ingot.ones(3), ingot.tensor([True, False, True], device="cuda")),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=f"on the same device as the indexed tensor .{indexed.device}."):
            indexed[index]
    with pytest.raises(RuntimeError, match=MIXED):
        x[ingot.tensor([0])] = ingot.ones(1, 4)


def test_questions_about_two_tensors_need_one_device() -> None:
    x = on_gpu(2)
    assert ingot.equal(x, x.clone()) and ingot.allclose(x, x + 0.0) and not x.equal(x + 1)
    for question in (ingot.equal, ingot.allclose):
        with pytest.raises(RuntimeError, match=MIXED):
            question(x, ingot.ones(2))
    assert ingot.ones(2).pin_memory().is_pinned() is False
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        x.pin_memory()


def test_writes_across_devices() -> None:
    x = on_gpu(2, 3)
    x.copy_(ingot.full((2, 3), 7.0))
    assert x.device == "cuda:0" and x.tolist() == [[7.0] * 3] * 2
    y = ingot.zeros(2, 3).copy_(x)
    assert y.device == "cpu" and y.sum() == 42
    x[0] = ingot.zeros(3)
    x[1, 1] = ingot.tensor(1.0)
    assert x.tolist() == [[0.0] * 3, [7.0, 1.0, 7.0]]
    x.zero_().fill_(2).fill_(ingot.tensor(3.0))
    assert x.sum().item() == 18
    x.data = ingot.ones(2)
    assert x.device == "cpu"


# -- to Python ---------------------------------------------------------------------------------------------------------


def test_numpy_is_refused_and_python_is_not() -> None:
    x = on_gpu(2)
    message = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu"
    for refused in (x.numpy, lambda: np.asarray(x), lambda: np.array(x), lambda: x.__array__()):
        with pytest.raises(TypeError, match=message):
            refused()
    assert x.numpy(force=True).tolist() == x.tolist() == [0.0, 1.0]
    assert x[1].item() == float(x[1]) == 1.0 and int(x[1]) == 1 and bool(x[1]) and [*x][1].device == "cuda:0"
    assert f"{x[1]:.2f}" == "1.00" and 1.0 in x


def test_repr_names_the_device() -> None:
    assert repr(on_gpu(2)) == "tensor([0., 1.], device='cuda:0')"
    assert repr(ingot.ones(1, device="cuda:1", dtype=ingot.float64)) == (
        "tensor([1.], device='cuda:1', dtype=ingot.float64)"
    )
    assert repr(on_gpu(1, requires_grad=True)) == "tensor([0.], device='cuda:0', requires_grad=True)"
    assert repr(nn.Parameter(on_gpu(1))) == "Parameter containing:\ntensor([0.], device='cuda:0', requires_grad=True)"
    assert repr(ingot.empty(0, device="cuda")) == "tensor([], device='cuda:0')"
    assert on_gpu(2).type() == "ingot.cuda.FloatTensor"


def test_copies_and_pickles() -> None:
    x = on_gpu(2, 2, requires_grad=True)
    (x * x).sum().backward()
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.copy(x)):
        assert again.device == "cuda:0" and again.requires_grad and again.tolist() == x.tolist()
    assert copy.deepcopy(x).grad.device == "cuda:0"


def test_sharing() -> None:
    x = on_gpu(2, 3)
    assert x.__dlpack_device__() == (2, 0) and ingot.ones(1).__dlpack_device__() == (1, 0)
    interface = x.__cuda_array_interface__
    assert interface["shape"] == (2, 3) and interface["typestr"] == "<f4" and interface["data"][0] == x.data_ptr()
    again = ingot.as_tensor(x._array)
    again.add_(1)
    assert again.device == "cuda:0" and x[0, 0] == 1.0 and again.data_ptr() == x.data_ptr()
    assert not hasattr(ingot.ones(1), "__cuda_array_interface__")
    assert not hasattr(x, "__array_interface__")
    with pytest.raises(RuntimeError, match="requires grad"):
        on_gpu(1, requires_grad=True).__cuda_array_interface__  # noqa: B018
    with pytest.raises(BufferError, match="simulated"):
        x.__dlpack__()
    with pytest.raises(BufferError, match="simulated"):
        ingot.from_dlpack(x)


def test_views_share_memory_of_the_device() -> None:
    x = on_gpu(3, 4)
    view = x.t()[1:, ::2]
    assert view.data_ptr() != x.data_ptr() and view.storage_offset() == 1 and view.stride() == (1, 8)
    view.zero_()
    assert x.tolist() == [[0.0] * 4, [4.0, 5.0, 6.0, 7.0], [8.0, 0.0, 0.0, 0.0]]
    assert x.view(-1).data_ptr() == x.data_ptr() and x.as_strided((2,), (5,)).tolist() == [0.0, 5.0]
    with pytest.raises(RuntimeError, match=r"view size is not compatible"):
        x.t().view(-1)
    expanded = ingot.ones(1, device="cuda").expand(3)
    with pytest.raises(RuntimeError, match="more than one element"):
        expanded.add_(1)
    base = on_gpu(2, 2, requires_grad=True)
    cloned = base.clone()
    cloned[0].mul_(3)
    cloned.sum().backward()
    assert base.grad.tolist() == [[3.0, 3.0], [1.0, 1.0]]
