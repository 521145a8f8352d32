"""Calls that typical PyTorch code makes, by topic; each must do the same with `T = torch` and with `T = ingot`."""

CALLS: dict[str, list[str]] = {}

CALLS["creation"] = """
T.tensor([1, 2, 3])
T.tensor([1.0, 2])
T.tensor([True, False])
T.tensor([[1, 2], [3, 4]], dtype=T.float64)
T.tensor(3)
T.tensor(2.5)
T.tensor(1 + 2j)
T.tensor([])
T.tensor([[], []])
T.tensor([True, 2])
T.tensor([True, 2.5])
T.tensor([[1, 2], [3]])
T.tensor("abc")
T.tensor(None)
T.tensor([T.tensor(1), T.tensor(2)])
T.tensor([np.float64(1.5), np.float64(2)])
T.tensor(np.float64(1.5))
T.tensor(np.int32(4))
T.tensor(np.arange(3, dtype="int16"))
T.tensor([1, 2], requires_grad=True)
T.tensor([1.0, 2], requires_grad=True)
T.tensor(range(4))
T.tensor((1, 2.0))
T.tensor([1e40])
T.tensor(2 ** 40)
T.as_tensor([1, 2])
T.as_tensor(np.arange(3.0))
T.as_tensor(np.arange(3.0), dtype=T.float32)
T.as_tensor(T.ones(2))
T.asarray([1.0, 2.0])
T.asarray(np.arange(3.0))
T.from_numpy(np.arange(3.0))
T.from_numpy([1, 2])
T.from_numpy(np.array(["a"]))
T.zeros(2, 3)
T.zeros((2, 3))
T.zeros([2, 3], dtype=T.int32)
T.zeros(())
T.zeros(0)
T.zeros(-1)
T.zeros(2.5)
T.zeros(size=(2, 3))
T.ones(2, dtype=T.bool)
T.ones(3, device="cpu")
T.empty(2, 3).shape
T.full((2,), 3)
T.full((2,), 3.5)
T.full((2,), True)
T.full((2, 2), 3, dtype=T.float32)
T.full([2], fill_value=1.0)
T.zeros_like(x(2, 3))
T.zeros_like(i(3), dtype=T.float32)
T.ones_like(i(3))
T.full_like(x(3), 2)
T.full_like(i(3), 2.7)
T.empty_like(x(3)).shape
T.arange(5)
T.arange(1, 5)
T.arange(1, 5, 2)
T.arange(5.0)
T.arange(0, 1, 0.25)
T.arange(5, 0, -1)
T.arange(5, 0)
T.arange(0)
T.arange(0, 5, dtype=T.float32)
T.arange(end=4)
T.arange(start=1, end=4)
T.arange(start=1, end=7, step=3)
T.arange(0, 5, 0)
T.arange(T.tensor(4))
T.linspace(0, 1, 5)
T.linspace(0, 1, steps=1)
T.linspace(0, 1, 0)
T.linspace(1, 10, steps=4, dtype=T.float64)
T.linspace(0, 1, -1)
T.eye(3)
T.eye(2, 3)
T.eye(3, dtype=T.int64)
T.eye(-1)
T.rand(2, 3).shape
T.rand((2, 3)).dtype
T.randn(2, dtype=T.float64).dtype
T.randn(()).shape
T.randn(size=(2, 3)).shape
T.randint(5, (2, 3)).dtype
T.randint(0, 5, (2, 3)).shape
T.randint(low=0, high=5, size=(2,)).shape
T.randint(0, 5, (2,), dtype=T.int32).dtype
T.randint(5, 5, (2,))
T.randperm(5).sort().values
T.rand_like(x(2, 3)).shape
T.randn_like(x(2, 3, dtype="float64")).dtype
T.normal(0.0, 1.0, (2, 3)).shape
T.normal(T.zeros(3), 1.0).shape
T.normal(T.zeros(3), T.ones(3)).shape
T.manual_seed(3).initial_seed()
x(2, 3).new_zeros(4)
x(2, 3).new_zeros((4, 2))
x(2, 3).new_ones(2, dtype=T.int32)
x(2, 3).new_full((2,), 7)
i(3).new_tensor([1.5, 2.5])
x(3).new_empty(2, 2).shape
T.bool
T.float32
T.tensor([1.0]).dtype
T.get_default_dtype()
T.is_tensor(x(2))
T.is_tensor(3)
T.numel(x(2, 3))
T.tril(x(3, 4))
T.triu(x(3, 4), diagonal=1)
T.meshgrid(T.arange(2), T.arange(3), indexing="ij")
T.cartesian_prod(T.arange(2), T.arange(3))
T.complex(x(3), x(3, seed=1))
T.logspace(0, 2, 3)
T.is_floating_point(x(2))
T.is_complex(x(2))
T.result_type(x(2), 1)
T.result_type(i(2), 1.0)
T.can_cast(T.float64, T.float32)
T.can_cast(T.float32, T.int32)
T.promote_types(T.int32, T.float32)
T.finfo(T.float32).eps
T.iinfo(T.int8).max
T.float32.is_floating_point
T.int8.itemsize
T.Size([2, 3])
T.Size([2, 3]).numel()
T.Size([2, 3]) + (4,)
T.Size([2, 3])[1:]
T.device("cpu").type
T.device("cpu")
str(T.device("cuda:1"))
T.device("cuda", 1).index
T.device("banana")
""".strip().split("\n")

CALLS["arithmetic"] = """
x(3) + x(3, seed=1)
x(3) + 1
1 + x(3)
2.5 - x(3)
i(3) + 1.5
i(3) + True
i(3, dtype="int32") + i(3)
i(3, dtype="uint8") + i(3, dtype="int8")
i(3) * x(3)
i(3) + T.tensor(1.5)
i(3, dtype="int32") + T.tensor(1)
x(3) + T.tensor(1.5, dtype=T.float64)
x(3, dtype="float16") * 2
x(3, dtype="float16") + x(3)
x(3) + x(3, dtype="float64")
T.tensor(1) + 1.5
T.tensor(True) + T.tensor(True)
T.tensor([True]) + 1
T.tensor([True]) * 2.5
T.tensor([True]) - T.tensor([True])
-T.tensor([True])
~T.tensor([True])
~i(3)
~x(3)
-x(3)
+x(3)
abs(x(3))
i(3) / 2
i(3) / i(3, low=1)
i(3) // 2
i(3) // 2.0
i(3) % 3
x(5) % 0.7
x(5) // 0.7
-7 // i(3, low=1)
7 % i(3, low=1)
i(3) // 0
i(3) % 0
x(3) / 0
x(3) ** 2
x(3) ** -1
i(3) ** 2
i(3) ** 2.0
i(3) ** -1
i(3) ** 0.5
2 ** i(3, low=0)
2.0 ** x(3)
2 ** x(3)
x(3, low=0.1) ** x(3)
T.pow(2, i(3, low=0))
T.pow(x(3), 3)
x(2, 3) @ x(3, 4)
x(2, 3).matmul(x(3))
x(3) @ x(3)
x(2, 3) @ x(2, 3)
x(3) @ 2
T.tensor(2.0) @ x(3)
i(2, 3) @ i(3, 2)
x(2, 3) @ i(3, 2)
x(2, 3, 4) @ x(4, 5)
x(5, 1, 2, 3) @ x(4, 3, 2)
T.mm(x(2, 3), x(3, 2))
T.mm(x(2, 3), x(3))
T.bmm(x(4, 2, 3), x(4, 3, 2))
T.dot(x(3), x(3))
T.dot(x(3, 1), x(3))
T.mv(x(2, 3), x(3))
T.outer(x(3), x(2))
T.addmm(x(2), x(2, 3), x(3, 2), beta=0.5, alpha=2)
T.baddbmm(x(2, 2, 2), x(2, 2, 3), x(2, 3, 2))
T.einsum("ij,jk->ik", x(2, 3), x(3, 4))
T.einsum("bij,bjk", x(2, 3, 4), x(2, 4, 5))
T.add(x(3), x(3), alpha=2)
T.add(x(3), 2, alpha=3)
T.sub(x(3), x(3, seed=1), alpha=0.5)
T.rsub(x(3), 2)
x(3).add(1)
x(3).add(x(3), alpha=2)
i(3).add(i(3), alpha=1.5)
x(3).sub(1)
x(3).subtract(x(3))
x(3).mul(2)
x(3).multiply(x(3))
x(3).div(2)
x(3).true_divide(2)
T.div(i(3), 2, rounding_mode="floor")
T.div(i(3), 2, rounding_mode="trunc")
T.div(x(3), 0.3, rounding_mode="trunc")
T.div(x(3), 2, rounding_mode="bad")
T.floor_divide(i(4), 3)
T.remainder(i(4), -3)
T.fmod(i(4), -3)
T.fmod(x(4), 0.7)
T.maximum(x(3), x(3, seed=1))
T.minimum(x(3), x(3, seed=1))
T.maximum(x(3), 1.0)
T.fmax(x(3), x(3, seed=1))
T.hypot(x(3), x(3, seed=1))
T.atan2(x(3), x(3, seed=1))
T.clamp(x(5), -1, 1)
T.clamp(x(5), min=0)
T.clamp(x(5), max=0.5)
T.clamp(x(5))
T.clamp(x(5), T.zeros(5), T.ones(5))
T.clamp(i(5), 0.5)
x(5).clamp(0, 1)
x(5).clamp_min(0.0)
x(5).clamp_max(0.0)
x(5).clip(0, 1)
T.lerp(x(3), x(3, seed=1), 0.3)
T.addcmul(x(3), x(3), x(3), value=2)
T.addcdiv(x(3), x(3), x(3, low=1), value=2)
x(2, 3) + x(3)
x(2, 3) + x(2)
x(2, 1, 3) + x(4, 1)
x(0, 3) + x(1, 3)
x(3) + "a"
x(3) + None
x(3) + [1, 2, 3]
[1, 2, 3] + x(3)
"a" + x(3)
x(3) + np.float64(2)
np.float64(2) * x(3)
x(3) * np.int64(2)
x(3) < 0
0 < x(3)
x(3) == x(3)
x(3) == 1
x(3) == None
x(3) != None
x(3) == "a"
x(3) != "a"
x(3) < "a"
x(3) < None
i(3) >= 1.5
x(3).eq(0)
x(3).ne(0)
x(3).lt(x(3, seed=1))
x(3).greater(0)
x(2) == x(3)
T.eq(x(3), 0)
T.equal(x(3), x(3))
T.equal(x(3), x(2))
T.allclose(x(3), x(3) + 1e-9)
T.isclose(x(3), x(3) + 1e-9)
i(3) & 3
i(3) | 1
i(3) ^ i(3, seed=1)
T.tensor([True, False]) & T.tensor([True, True])
T.tensor([True, False]) | True
T.tensor([True, False]) ^ True
x(3) & 1
1 & i(3)
i(3) << 1
i(3) >> 1
1 << i(3, low=0)
T.logical_and(x(3) > 0, x(3) < 1)
T.logical_not(i(3))
(x(3) > 0).logical_or(x(3) < -1)
T.logical_xor(i(3), i(3, seed=1))
T.bitwise_not(i(3))
T.neg(x(3))
T.negative(x(3))
T.positive(x(3))
T.sign(x(3))
T.sgn(x(3))
T.exp(i(3))
T.sqrt(x(3))
T.rsqrt(x(3))
T.log(x(3))
T.log1p(x(3))
T.log2(x(3))
T.log10(x(3))
T.exp2(x(3))
T.expm1(x(3))
T.sin(x(3)) + T.cos(x(3)) + T.tan(x(3))
T.asin(x(3)) + T.acos(x(3)) + T.atan(x(3))
T.sinh(x(3)) + T.cosh(x(3)) + T.tanh(x(3))
T.asinh(x(3))
T.acosh(x(3))
T.atanh(x(3))
T.arcsin(x(3))
T.sigmoid(i(3))
T.floor(x(3) * 3)
T.ceil(x(3) * 3)
T.round(x(7) * 3)
T.round(T.tensor([0.5, 1.5, 2.5]))
T.round(x(3), decimals=2)
T.trunc(x(3) * 3)
T.frac(x(3) * 3)
T.fix(x(3))
T.floor(i(3))
T.reciprocal(i(3, low=1))
T.square(i(3))
T.abs(i(3))
T.absolute(x(3))
T.isnan(T.tensor([1.0, float("nan")]))
T.isinf(T.tensor([1.0, -float("inf")]))
T.isfinite(T.tensor([1.0, -float("inf"), float("nan")]))
T.isposinf(T.tensor([1.0, float("inf")]))
T.nan_to_num(T.tensor([float("nan"), float("inf"), 1.0]))
T.erf(x(3))
T.erfc(x(3))
T.lgamma(x(3, low=0.5))
T.digamma(x(3, low=0.5))
T.logit(T.tensor([0.2, 0.7]))
T.xlogy(x(3, low=0.1), x(3, low=0.1))
T.logaddexp(x(3), x(3, seed=1))
T.softmax(x(2, 3), 1)
T.softmax(x(2, 3), dim=-1)
x(2, 3).softmax(-1)
x(2, 3).log_softmax(dim=1)
T.relu(x(3))
x(3).relu()
T.tanh(x(3))
T.heaviside(x(3), T.tensor(0.5))
T.copysign(x(3), -1.0)
T.exp("a")
T.exp(1.0)
T.add(1, 2)
T.sin()
T.sin(x(3), 1)
x(3).sin(1)
T.add(x(3))
T.add(x(3), x(3), x(3))
T.deg2rad(x(3))
T.gcd(i(3), i(3, seed=1))
divmod(i(3), 2)
round(x(3))
math.floor(T.tensor(2.5))
x(3).__pos__()
x(1).__bool__()
not x(2)
bool(x(0))
float(T.tensor([2.5]))
int(T.tensor(2.9))
float(x(2))
complex(T.tensor(2.5))
[1, 2, 3][T.tensor(1)]
[1, 2, 3][T.tensor(1.0)]
range(T.tensor(3))
x(3).__index__()
T.square(x(3), out=T.empty(3))
T.add(x(3), 1, out=T.empty(3))
""".strip().split("\n")

CALLS["reductions"] = """
x(2, 3).sum()
i(2, 3).sum()
(x(2, 3) > 0).sum()
i(3, dtype="int32").sum()
x(2, 3).sum(0)
x(2, 3).sum(dim=1)
x(2, 3).sum(-1, keepdim=True)
x(2, 3).sum(axis=1)
x(2, 3).sum(axis=1, keepdims=True)
x(2, 3).sum((0, 1))
x(2, 3, 4).sum([0, 2])
x(2, 3, 4).sum(dim=(0, 2), keepdim=True)
x(2, 3).sum(())
x(2, 3).sum(dim=None)
x(2, 3).sum(2)
x(2, 3).sum((0, 0))
x(2, 3).sum(dtype=T.float64)
x(0).sum()
x(0, 3).sum(0)
x(2, 0).mean(1)
T.sum(x(2, 3), 1)
T.sum(x(2, 3), dim=(0, 1))
x(2, 3).mean()
x(2, 3).mean(0)
x(2, 3).mean((0, 1), keepdim=True)
x(2, 3).mean(axis=0)
i(3).mean()
i(3).mean(dtype=T.float32)
i(3).float().mean()
x(0).mean()
x(2, 3).prod()
x(2, 3).prod(1)
x(2, 3).prod(1, keepdim=True)
i(3).prod()
x(2, 3).max()
x(2, 3).max(1)
x(2, 3).max(dim=1)
x(2, 3).max(1).values
x(2, 3).max(1).indices
x(2, 3).max(1, keepdim=True)[0]
x(2, 3).max(x(2, 3, seed=1))
T.max(x(2, 3))
T.max(x(2, 3), 1)
T.max(x(2, 3), dim=0)
T.max(x(2, 3), x(2, 3, seed=1))
T.max(x(2, 3), other=x(2, 3, seed=1))
T.min(x(2, 3), 0)
x(2, 3).min(dim=1, keepdim=True)
x(0).max()
x(0, 3).max(0)
x(2, 3).max(axis=1)
x(2, 3).max((0, 1))
x(2, 3).amax()
x(2, 3).amax(1)
x(2, 3).amax((0, 1))
x(2, 3).amin(dim=0, keepdim=True)
T.aminmax(x(2, 3))
x(2, 3).argmax()
x(2, 3).argmax(1)
x(2, 3).argmax(dim=1, keepdim=True)
x(2, 3).argmin(-1)
T.argmax(x(2, 3))
T.argmax(x(0))
T.tensor([1.0, float("nan"), 2.0]).max()
T.tensor([1.0, float("nan"), 2.0]).argmax()
T.tensor([1, 3, 3]).argmax()
x(2, 3).std()
x(2, 3).std(1)
x(2, 3).std(unbiased=False)
x(2, 3).std(1, unbiased=False)
x(2, 3).std(1, False)
x(2, 3).std(False)
x(2, 3).std(dim=1, correction=0)
x(2, 3).std(dim=(0, 1), keepdim=True)
x(2, 3).std(1, True, True)
x(2, 3).var()
x(2, 3).var(0)
x(2, 3).var(0, unbiased=False)
x(2, 3).var(dim=0, correction=0, keepdim=True)
x(2, 3).var(False)
T.var(x(2, 3), 1)
T.var(x(2, 3), dim=1, unbiased=True)
T.std(x(2, 3), 0, False)
i(3).std()
T.var_mean(x(2, 3), 1)
T.std_mean(x(2, 3))
(x(2, 3) > 0).any()
(x(2, 3) > 0).any(1)
(x(2, 3) > 0).all(dim=0)
(x(2, 3) > 0).all(1, keepdim=True)
i(3).any()
x(0).all()
x(0).any()
T.all(x(2, 3) > -5)
T.any(i(2, 3) > 4, 1)
x(2, 3).norm()
x(2, 3).norm(1)
x(2, 3).norm(dim=1)
x(2, 3).norm(p=2, dim=1, keepdim=True)
x(2, 3).norm(float("inf"))
T.norm(x(2, 3))
T.norm(x(2, 3), 1, 0)
T.norm(x(2, 3), p="fro")
T.linalg.norm(x(2, 3))
T.linalg.vector_norm(x(2, 3), 3)
T.logsumexp(x(2, 3), 1)
x(2, 3).logsumexp(dim=(0, 1))
x(2, 3).cumsum(1)
x(2, 3).cumsum(dim=0)
i(3).cumsum(0)
(i(3) > 0).cumsum(0)
x(2, 3).cumprod(1)
T.cumsum(x(3), 0, dtype=T.float64)
T.cummax(x(5), 0)
x(5).median()
x(2, 5).median(1)
x(5).mode()
T.quantile(x(5), 0.3)
x(5).nanmean()
x(5).nansum()
T.count_nonzero(i(5))
T.count_nonzero(i(2, 5), 1)
T.bincount(i(5, low=0))
T.histc(x(5), 4)
x(5).sort()
x(5).sort(descending=True)
x(2, 5).sort(0)
x(2, 5).sort(dim=1, descending=True)
T.sort(x(5)).values
T.sort(i(7), stable=True)
T.sort(i(7), stable=True, dim=0).indices
x(5).argsort()
x(5).argsort(descending=True)
T.argsort(x(2, 3), dim=0)
x(5).topk(2)
x(2, 5).topk(2, dim=1)
x(2, 5).topk(2, 1, False)
x(2, 5).topk(k=2, largest=False).values
x(5).topk(6)
x(5).kthvalue(2)
T.unique(i(9))
T.unique(i(9), return_counts=True)
T.unique(i(9), return_inverse=True)
x(2, 3).sum(1).sum()
sum(x(3))
max(x(3))
len(x(3, 2))
len(T.tensor(1))
T.tensor(3.0).sum()
T.tensor(3.0).sum(0)
T.tensor(3.0).max(0)
T.tensor(3.0).mean(-1)
T.tensor(3.0).sum(1)
T.tensor(3.0).argmax(0)
T.trace(x(3, 3))
T.diff(x(5))
T.searchsorted(T.tensor([1.0, 2, 3]), x(4))
T.dist(x(3), x(3, seed=1))
T.cdist(x(3, 2), x(4, 2))
T.cosine_similarity(x(3, 2), x(3, 2, seed=1))
T.renorm(x(3, 2), 2, 0, 1)
""".strip().split("\n")

CALLS["shapes"] = """
x(2, 3).reshape(3, 2)
x(2, 3).reshape((3, 2))
x(2, 3).reshape(-1)
x(2, 3).reshape([-1, 2])
x(2, 3).reshape(shape=(6,))
x(2, 3).reshape(4, 2)
x(2, 3).reshape(-1, -1)
x(2, 3).view(6)
x(2, 3).view(-1, 2)
x(2, 3).view((3, 2))
x(2, 3).view([3, 2])
x(2, 3).t().view(6)
x(2, 3).t().reshape(6)
x(2, 3).t().view(3, 2)
x(2, 3, 4).transpose(1, 2).view(2, 12)
x(2, 3, 4).transpose(1, 2).view(2, 4, 3, 1)
x(4, 6)[:, ::2].view(4, 3)
x(4, 6)[:, ::2].view(12)
x(4, 6)[::2].view(2, 2, 3)
x(4, 6)[::2].view(12)
x(0, 3).view(3, 0)
x(3).expand(2, 3).view(6)
x(2, 3).view(T.int32)
x(2, 4).view(T.float64)
x(2, 4).view(T.int16).shape
x(2, 3).view_as(x(3, 2))
x(2, 3).reshape_as(x(3, 2))
x(2, 3).flatten()
x(2, 3, 4).flatten(1)
x(2, 3, 4).flatten(start_dim=0, end_dim=1)
T.flatten(x(2, 3, 4), 1)
T.flatten(T.tensor(1.0))
x(2, 3).ravel()
x(6).unflatten(0, (2, 3))
x(6).unflatten(0, (2, -1))
x(2, 3).t()
x(3).t()
x(2, 3, 4).t()
x(2, 3).T
x(2, 3, 4).mT
x(3).mT
x(2, 3).H
x(2, 3, 4).permute(2, 0, 1)
x(2, 3, 4).permute((2, 0, 1))
x(2, 3, 4).permute(dims=(2, 0, 1))
x(2, 3, 4).permute(0, 1)
x(2, 3, 4).permute(0, 1, 1)
T.permute(x(2, 3), (1, 0))
x(2, 3).transpose(0, 1)
x(2, 3).transpose(dim0=0, dim1=1)
T.transpose(x(2, 3), 0, 1)
x(2, 3).swapaxes(0, 1)
T.movedim(x(2, 3, 4), 0, 2)
x(2, 3, 4).movedim((0, 1), (1, 2))
T.moveaxis(x(2, 3, 4), 0, -1)
x(1, 3, 1).squeeze()
x(1, 3, 1).squeeze(0)
x(1, 3, 1).squeeze(1)
x(1, 3, 1).squeeze(dim=-1)
x(1, 3, 1).squeeze((0, 2))
x(1, 3, 1).squeeze(3)
T.squeeze(x(1, 3))
x(3).unsqueeze(0)
x(3).unsqueeze(-1)
x(3).unsqueeze(dim=1)
x(3).unsqueeze(2)
x(3).unsqueeze(axis=0)
x(3, 1).expand(3, 4)
x(3, 1).expand(-1, 4)
x(3).expand(2, 3)
x(3).expand((2, 3))
x(3).expand(2, -1)
x(3).expand(-1, 3)
x(3).expand(3, 2)
x(2, 3).expand(3)
x(3, 1).expand_as(x(3, 4))
T.broadcast_to(x(3), (2, 3))
T.broadcast_tensors(x(3, 1), x(4))
T.broadcast_shapes((3, 1), (4,))
T.atleast_1d(T.tensor(1.0))
T.atleast_2d(x(3))
x(3).repeat(2)
x(3).repeat(2, 2)
x(2, 3).repeat((2, 1))
x(2, 3).repeat(2)
x(3).tile(2)
T.tile(x(2, 3), (2,))
x(3).repeat_interleave(2)
x(2, 3).repeat_interleave(2, dim=1)
T.repeat_interleave(x(3), T.tensor([1, 2, 0]))
T.cat([x(2), x(3)])
T.cat((x(2, 3), x(1, 3)), 0)
T.cat([x(2, 3), x(2, 1)], dim=1)
T.cat([x(2, 3), x(2, 1)], dim=-1)
T.cat([x(2, 3), x(2, 1)], axis=1)
T.cat([x(2, 3), x(2, 1)])
T.cat([])
T.cat([x(0), x(2, 3)])
T.cat([x(2), i(2)])
T.cat(x(2, 3))
T.concat([x(2), x(3)])
T.concatenate([x(2), x(3)])
T.stack([x(2), x(2)])
T.stack((x(2), x(2)), dim=1)
T.stack([x(2), x(2)], -1)
T.stack([x(2), x(3)])
T.stack([])
T.stack(list(x(2, 3)))
T.hstack([x(2), x(3)])
T.vstack([x(3), x(3)])
T.dstack([x(3), x(3)])
T.column_stack([x(3), x(3)])
T.split(x(5), 2)
T.split(x(5), [1, 4])
T.split(x(5), [1, 3])
T.split(x(2, 4), 3, dim=1)
T.split(x(2, 4), 2, -1)
x(5).split(2)
x(5, 2).split(split_size=2, dim=1)
x(5).split(0)
x(0).split(2)
x(0).split(0)
x(5).split(-1)
x(5).split((2, 3))
T.tensor(1.0).split(1)
T.chunk(x(5), 2)
T.chunk(x(5), 3)
T.chunk(x(5), 4)
x(2, 6).chunk(3, dim=1)
x(2, 6).chunk(3, -1)
x(5).chunk(0)
x(0).chunk(2)
x(5).tensor_split(3)
x(2, 3).unbind()
x(2, 3).unbind(1)
T.unbind(x(2, 3), dim=-1)
T.tensor(1.0).unbind()
x(5).narrow(0, 1, 3)
x(5).narrow(0, -3, 2)
x(5).narrow(0, 3, 4)
T.narrow(x(2, 5), 1, 0, 2)
x(2, 3).select(0, 1)
x(2, 3).select(dim=1, index=-1)
T.select(x(2, 3), 1, 0)
x(2, 3).select(1, 5)
x(2, 3).flip(0)
x(2, 3).flip([0, 1])
x(2, 3).flip(0, 1)
T.flip(x(2, 3), dims=(1,))
T.fliplr(x(2, 3))
T.flipud(x(2, 3))
T.roll(x(5), 2)
T.roll(x(2, 3), (1, 1), (0, 1))
x(2, 3).roll(1, 0)
x(2, 3).roll(shifts=1, dims=1)
T.rot90(x(2, 3))
x(3, 3).diagonal()
x(3, 4).diagonal(1)
x(3, 3).diag()
x(3).diag()
T.diag(x(3), 1)
T.diag_embed(x(3))
x(3, 3).tril()
x(3, 3).triu(1)
x(5).unfold(0, 3, 1)
x(2, 3).size()
x(2, 3).size(0)
x(2, 3).size(-1)
x(2, 3).size(dim=1)
x(2, 3).size(2)
x(2, 3).shape
x(2, 3).shape[0]
x(2, 3).dim()
x(2, 3).ndim
x(2, 3).numel()
x(2, 3).nelement()
x(2, 3).stride()
x(2, 3).t().stride()
x(2, 3).stride(0)
x(2, 3).storage_offset()
x(5)[2:].storage_offset()
x(2, 3).is_contiguous()
x(2, 3).t().is_contiguous()
x(2, 3).t().contiguous().is_contiguous()
x(2, 3).element_size()
x(2, 3).itemsize
x(2, 3).nbytes
x(2, 3).t().clone().stride()
x(2, 3).t().clone()
T.clone(x(3))
x(2, 3).to(T.float64)
x(2, 3).to("cpu")
x(2, 3).to(T.device("cpu"))
x(2, 3).to("cpu", T.float64)
x(2, 3).to(device="cpu", dtype=T.int32)
x(2, 3).to(i(3))
x(2, 3).to(dtype=T.float16)
x(2, 3).to("banana")
x(2, 3).to(3)
x(3).to(T.float32) is x(3)
x(3).double()
x(3).float()
x(3).half()
x(3).int()
x(3).long()
x(3).short()
x(3).bool()
x(3).byte()
x(3).char()
x(3).cpu()
x(3).type(T.float64)
x(3).type_as(i(2))
x(3).is_floating_point()
x(3).is_complex()
x(3).is_signed()
x(3).tolist()
i(2, 2).tolist()
T.tensor(1.5).tolist()
T.tensor([1.5]).item()
T.tensor(True).item()
x(2).item()
x(0).item()
x(3).numpy()
np.asarray(x(3))
np.array(x(3), dtype="float64")
x(3, grad=True).numpy()
x(3, grad=True).detach().numpy()
x(3, grad=True).data
x(3).get_device()
x(3).is_cuda
x(3).requires_grad
x(3).device
x(3).layout
x(3).is_leaf
T.is_same_size(x(2), x(3)) if hasattr(T, "is_same_size") else False
x(3).is_same_size(x(3))
x(3).apply_(lambda v: v + 1)
T.where(x(3) > 0, x(3), 0.0)
T.where(x(3) > 0, x(3), T.zeros(3))
T.where(x(3) > 0, 1, 0)
T.where(x(3) > 0, 1.0, 0)
T.where(x(3) > 0)
T.where(x(3), 1, 0)
x(3).where(x(3) > 0, T.tensor(0.0))
x(3).where(x(3) > 0, 0)
T.where(x(3) > 0, i(3), x(3))
T.nonzero(i(2, 3))
i(2, 3).nonzero(as_tuple=True)
T.nonzero(x(2, 3) > 0, as_tuple=False)
T.argwhere(i(2, 3))
T.masked_select(x(2, 3), x(2, 3) > 0)
x(2, 3).masked_fill(x(2, 3) > 0, 7)
x(2, 3).masked_fill(x(2, 3) > 0, T.tensor(7.0))
x(2, 3).masked_fill(i(2, 3), 7)
i(2, 3).masked_fill(i(2, 3) > 0, 1.5)
x(3).masked_scatter(T.tensor([True, False, True]), T.tensor([8.0, 9.0]))
x(2, 3).gather(1, T.tensor([[0, 2], [1, 1]]))
T.gather(x(2, 3), dim=1, index=T.tensor([[0], [2]]))
x(2, 3).gather(1, T.tensor([[3]]))
x(2, 3).gather(1, T.tensor([0]))
x(2, 3).scatter(1, T.tensor([[0, 2]]), x(2, 3))
x(2, 3).scatter(1, T.tensor([[0, 2]]), 5.0)
x(2, 3).scatter_add(1, T.tensor([[0, 0]]), x(2, 3))
T.zeros(3, 5).scatter_(1, T.tensor([[1], [2], [0]]), 1.0)
x(3, 4).index_select(0, T.tensor([2, 0]))
T.index_select(x(3, 4), 1, T.tensor([1]))
x(3, 4).index_select(0, T.tensor([3]))
x(3, 4).index_add(0, T.tensor([0, 0]), T.ones(2, 4))
x(3, 4).index_fill(0, T.tensor([1]), 9.0)
x(3, 4).index_copy(0, T.tensor([1]), T.ones(1, 4))
T.take(x(3, 4), T.tensor([0, 5]))
T.take_along_dim(x(2, 3), T.tensor([[0], [2]]), 1)
x(2, 3).take_along_dim(x(2, 3).argsort(1), dim=1)
T.kron(x(2), x(3))
T.tensordot(x(2, 3), x(3, 4), dims=1)
T.cross(x(2, 3), x(2, 3, seed=1), dim=1)
T.block_diag(x(2, 2), x(1, 1))
T.as_strided(x(6), (2, 2), (1, 2))
""".strip().split("\n")

CALLS["indexing"] = """
x(3, 4)[0]
x(3, 4)[-1]
x(3, 4)[3]
x(3, 4)[0, 1]
x(3, 4)[0][1]
x(3, 4)[0, 1, 2]
x(3, 4)[1:]
x(3, 4)[:, 1]
x(3, 4)[:, 1:3]
x(3, 4)[::2, ::3]
x(3, 4)[::-1]
x(3, 4)[:, ::0]
x(3, 4)[5:]
x(3, 4)[-2:, -3:-1]
x(3, 4)[2:1]
x(3, 4)[-100:100]
x(3, 4)[None]
x(3, 4)[:, None]
x(3, 4)[..., None]
x(3, 4)[None, 0, None]
x(3, 4)[...]
x(3, 4)[..., 0]
x(3, 4)[0, ...]
x(3, 4)[..., ..., 0]
x(2, 3, 4)[..., 1, :]
x(3, 4)[()]
x(3, 4)[True]
x(3, 4)[False]
x(3, 4)[:]
x(3, 4)[[0, 2]]
x(3, 4)[[0, 2], [1, 3]]
x(3, 4)[:, [0, 2]]
x(3, 4)[[0, 2], :]
x(3, 4)[[[0, 2]]]
x(3, 4)[[0, 2], 1]
x(3, 4)[1, [0, 2]]
x(3, 4)[T.tensor([0, 2])]
x(3, 4)[T.tensor(1)]
x(3, 4)[T.tensor(5)]
x(3, 4)[T.tensor([0, 5])]
x(3, 4)[T.tensor([0, -4])]
x(3, 4)[T.tensor([-1, 0])]
x(3, 4)[T.tensor([0, 2]), T.tensor([1, 3])]
x(3, 4)[T.tensor([[0], [2]]), T.tensor([1, 3])]
x(3, 4)[T.tensor([0, 1]), T.tensor([0, 1, 2])]
x(3, 4)[:, T.tensor([0, 2])]
x(3, 4)[T.tensor([0, 2]), 1:]
x(2, 3, 4)[:, T.tensor([0, 2]), 1]
x(2, 3, 4)[T.tensor([0, 1]), :, T.tensor([0, 2])]
x(2, 3, 4)[0, :, T.tensor([0, 2])]
x(2, 3, 4)[:, 0, T.tensor([0, 2])]
x(2, 3, 4)[T.tensor([0, 1]), None, T.tensor([0, 2])]
x(2, 3, 4)[None, T.tensor([0, 1])]
x(2, 3, 4)[..., T.tensor([0, 2])]
x(2, 3, 4)[1:, ..., T.tensor([0, 2])]
x(3, 4)[x(3, 4) > 0]
x(3, 4)[T.tensor([True, False, True])]
x(3, 4)[T.tensor([True, False])]
x(3, 4)[:, T.tensor([True, False, True, False])]
x(3, 4)[T.tensor([True, False, True]), T.tensor([0, 1])]
x(3, 4)[T.tensor([True, False, True]), 1:]
x(3, 4)[[True, False, True]]
x(3, 4)[np.array([0, 2])]
x(3, 4)[np.int64(1)]
x(3, 4)[i(2, low=0, high=3, dtype="int32")]
x(3, 4)[i(2, low=0, high=3, dtype="uint8") > 1]
x(3, 4)[x(2)]
x(3, 4)[1.0]
x(3, 4)["a"]
x(3, 4)[[]]
x(3, 4)[T.tensor([], dtype=T.int64)]
x(3, 4)[T.tensor([])]
x(3, 4)[0:2, [1, 2]]
x(3, 4)[(0, 1)]
x(3, 4)[slice(0, 2)]
x(3, 4)[T.tensor(0):T.tensor(2)]
T.tensor(5.0)[()]
T.tensor(5.0)[...]
T.tensor(5.0)[None]
T.tensor(5.0)[0]
T.tensor(5.0)[T.tensor(True)]
x(0, 4)[0]
x(4)[T.tensor([[0, 1], [2, 3]])]
x(5)[T.tensor([1, 2])].shape
[float(v) for v in x(3)]
[v.shape for v in x(3, 2)]
list(x(2, 2))
a, b = x(2, 3)
list(T.tensor(1.0))
1.0 in T.tensor([1.0, 2.0])
5 in T.tensor([1.0, 2.0])
T.tensor(1.0) in T.tensor([1.0, 2.0])
"a" in x(3)
list(reversed(x(3)))
""".strip().split("\n")

CALLS["writing"] = [
    "a = x(3, 4)\n" + line + "\na"
    for line in """
a[0] = 1
a[0, 1] = 5.5
a[:, 1] = T.tensor([1.0, 2, 3])
a[:] = 0
a[...] = 2
a[()] = 3
a[1:] = T.ones(2, 4)
a[1:] = T.ones(4)
a[1:] = T.ones(1, 1, 4)
a[1:] = T.ones(2, 2, 4)
a[1:] = T.ones(3, 4)
a[::2, ::2] = -1
a[::-1] = 1
a[5] = 1
a[0] = i(4)
i(4)[0] = 2.7
a[0] = T.tensor(2, dtype=T.int32)
a[0] = True
a[0] = "a"
a[0] = None
a[0] = [1, 2, 3, 4]
a[0] = np.arange(4)
a[0] = np.float32(2)
a[0] = 1j
a[a > 0] = 0
a[a > 0] = a[a > 0] * 2
a[a > 0] = T.ones(3)
a[a > 5] = T.ones(0)
a[T.tensor([True, False, True])] = T.arange(4.0)
a[T.tensor([0, 2])] = T.ones(2, 4)
a[T.tensor([0, 2])] = 5
a[T.tensor([0, 2]), T.tensor([1, 1])] = T.tensor([7.0, 8.0])
a[:, T.tensor([0, 2])] = 3
a[[0, 1], [1, 2]] = 9
a[[0, 0]] += 1
a[0] += 1
a[0, 0] *= 3
a[:, 1] -= a[:, 0]
a[None, 0] = 1
a[0, T.tensor([0, 2])] = T.tensor([1.0, 2.0])
a[T.tensor([0, 5])] = 1
a[T.tensor([0, 2])] = T.ones(3, 4)
a[True] = 1
a[False] = 1
a[T.tensor(1)] = 4
a.t()[0] = 1
a[0][1] = 3
a.view(-1)[5] = 3
a[0].fill_(4)
a[:, 0].zero_()
a.T[1].add_(1)
a += 1
a -= a
a *= 2
a /= 2
a //= 0.5
a %= 0.5
a **= 2
a += T.ones(4)
a += T.ones(2, 3, 4)
a += T.ones(3, 4, dtype=T.float64)
a += 1j
a @= T.eye(4)
a.add_(1).mul_(2)
a.add_(T.ones(4), alpha=2)
a.sub_(1)
a.div_(2)
a.pow_(2)
a.neg_()
a.exp_()
a.sqrt_()
a.abs_()
a.clamp_(-1, 1)
a.clamp_(min=0)
a.relu_()
a.sigmoid_()
a.tanh_()
a.round_()
a.floor_()
a.reciprocal_()
a.zero_()
a.fill_(3)
a.fill_(T.tensor(2.5))
a.copy_(T.ones(4))
a.copy_(i(3, 4))
a.copy_(T.ones(5))
a.masked_fill_(a > 0, -1)
a.index_fill_(0, T.tensor([1]), 2.0)
a.index_add_(0, T.tensor([1, 1]), T.ones(2, 4))
a.scatter_(1, T.tensor([[0], [1], [2]]), 9.0)
a.scatter_add_(1, T.tensor([[0], [1], [2]]), T.ones(3, 1))
a.index_copy_(0, T.tensor([1]), T.ones(1, 4))
a.index_put_((T.tensor([0, 0]), T.tensor([1, 1])), T.tensor(1.0), accumulate=True)
a.unsqueeze_(0)
a.squeeze_()
a.t_()
a.transpose_(0, 1)
a.resize_(2, 2)
a.lerp_(T.ones(3, 4), 0.5)
a.addcmul_(a, a, value=0.5)
a.addcdiv_(T.ones(3, 4), T.ones(3, 4), value=0.5)
a.eq_(1)
a.lt_(0)
a.maximum_(a)
a.uniform_(0, 1).shape
a.normal_().shape
a.bernoulli_(0.5).shape
a.data.add_(1)
a.detach().add_(1)
a.requires_grad_()
a.expand(2, 3, 4).add_(1)
a.set_(T.ones(2))
a.tril_()
a.fill_diagonal_(7)
a.logical_not_()
a.trunc_()
a.erf_()
a.cumsum_(0)
a.fmod_(0.5)
a.remainder_(0.5)
a.atan2_(T.ones(3, 4))
a.nan_to_num_()
""".strip().split("\n")
] + [
    "a = i(3, 4)\n" + line + "\na"
    for line in """
a += 1.5
a /= 2
a //= 2
a += True
a <<= 1
a &= 3
a |= 8
a ^= 1
a **= 2
a.add_(1, alpha=1.5)
a.copy_(x(3, 4))
a[0] = 2.7
a[0] = x(4)
a[a > 0] = 1.5
a.exp_()
a.float().exp_()
a.mul_(2.5)
a.clamp_(0.5, 2)
a.masked_fill_(a > 0, 1.5)
""".strip().split("\n")
]

CALLS["printing"] = """
repr(T.tensor(1))
repr(T.tensor(1.5))
repr(T.tensor(True))
repr(T.tensor([]))
repr(T.tensor([], dtype=T.int64))
repr(T.zeros(0, 3))
repr(T.zeros(2, 0, dtype=T.bool))
repr(T.tensor([1, 2, 3]))
repr(T.tensor([1.0, 2.0]))
repr(T.tensor([1.5, 22.25]))
repr(T.tensor([1e-5, 1.0]))
repr(T.tensor([1e10, 1.0]))
repr(T.tensor([1e5, 1.0]))
repr(T.tensor([1e4, 0.001]))
repr(T.tensor([12345678.0]))
repr(T.tensor([123456789.0]))
repr(T.tensor([1234567890.0, 3]))
repr(T.tensor([0.0, -0.0]))
repr(T.tensor([float("nan"), float("inf"), -float("inf"), 1]))
repr(T.tensor([float("nan"), 1.5]))
repr(T.tensor([float("nan")]))
repr(T.tensor([True, False]))
repr(T.tensor([1, -100, 7]))
repr(T.tensor([1.0], dtype=T.float64))
repr(T.tensor([1], dtype=T.int32))
repr(T.tensor([1.5], dtype=T.float16))
repr(T.tensor([1, 2], dtype=T.uint8))
repr(x(3))
repr(x(2, 3))
repr(x(2, 3, 4))
repr(x(2, 2, 2, 2))
repr(x(1, 1, 1))
repr(x(30))
repr(x(3, 30))
repr(x(1001))
repr(x(40, 40))
repr(x(11, 11, 11))
repr(T.arange(2000))
repr(T.arange(2000).reshape(2, 1000))
repr(T.arange(100))
repr(T.ones(2000, dtype=T.bool))
repr(x(2, 3) * 1000)
repr(x(2, 3) * 1e6)
repr(x(2, 3) * 1e-6)
repr(x(2, 3, dtype="float64"))
repr(T.ones(3, requires_grad=True))
repr(T.ones(3, requires_grad=True) * 2)
repr((T.ones(3, requires_grad=True) * 2).sum())
repr(T.ones(3, requires_grad=True) + 2)
repr(T.ones(3, requires_grad=True).exp())
repr(T.ones(3, requires_grad=True)[0])
repr(T.ones(3, requires_grad=True).view(3, 1))
repr(T.ones(3, dtype=T.float64, requires_grad=True))
repr(T.tensor([1 + 2j, 3 - 4.5j]))
repr(T.tensor([1 + 2j]))
repr(T.tensor(1j))
str(T.tensor([1.0, 2.0]))
f"{T.tensor(2.5):.3f}"
f"{T.tensor([2.5])}"
f"{T.tensor(2.5)}"
f"{T.tensor([2.5]):.2f}"
repr(T.float32)
repr(T.bool)
repr(x(2, 3).shape)
repr(x(2, 3).size())
repr(T.device("cpu"))
repr(T.nn.Parameter(T.ones(2)))
repr(T.nn.Linear(2, 3))
repr(T.nn.Sequential(T.nn.Linear(2, 3), T.nn.ReLU()))
repr(T.max(T.tensor([[1.0, 2.0]]), 1))
repr(T.sort(T.tensor([2.0, 1.0])))
repr(T.topk(T.tensor([2.0, 1.0]), 1))
repr(T.tensor([[1.0, 2.0], [3.0, 400.5]]))
repr(T.tensor([100000.5, 1.0]))
repr(T.tensor([0.1, 0.22, 0.333, 0.4444, 0.55555]))
repr(T.tensor([1e-3, 1e-4]))
repr(T.tensor([999999.0, 0.1]))
repr(T.tensor(1e-10))
repr(T.tensor([-1.5, 2.5]))
repr(T.tensor([-1, 2]))
repr(T.tensor([[-1, 2], [3, -400]]))
repr(T.full((3,), 1e20))
repr(T.tensor(3.0, requires_grad=True))
repr(T.arange(5).float())
repr(T.zeros(1, 0))
repr(T.zeros(3, 0, 2))
""".strip().split("\n")

# Programs; the value of the last line is compared.
CALLS["autograd"] = [
    program.strip("\n")
    for program in """
w = x(3, grad=True)
(w * w).sum().backward()
(w * 3).sum().backward()
w.grad
---
w = x(3, grad=True)
y = (w * w).sum()
y.backward()
y.backward()
---
w = x(3, grad=True)
y = (w * w).sum()
y.backward(retain_graph=True)
y.backward()
w.grad
---
w = x(3, grad=True)
(w * 2).backward()
---
w = x(3, grad=True)
(w * 2).backward(T.tensor([1.0, 2.0, 3.0]))
w.grad
---
w = x(3, grad=True)
(w * 2).backward(T.ones(2))
---
x(3).sum().backward()
---
w = x(3, grad=True)
w.backward(T.ones(3))
w.grad
---
w = x(3, grad=True)
w.add_(1)
---
w = x(3, grad=True)
w[0] = 1
---
w = x(3, grad=True)
w[0].add_(1)
---
w = x(3, grad=True)
w.view(3, 1).mul_(2)
---
w = x(3, grad=True)
with T.no_grad():
    w.add_(1)
w.is_leaf, w.requires_grad, w
---
w = x(3, grad=True)
y = w * 2
y.requires_grad_(False)
---
w = x(3, grad=True)
w.detach().requires_grad, w.detach().is_leaf, (w * 2).detach().requires_grad
---
i(3).requires_grad_()
---
t = i(3)
t.requires_grad = True
---
w = x(3, grad=True)
(w > 0).requires_grad, w.argmax().requires_grad, w.max(0)[1].requires_grad, w.max(0)[0].requires_grad
---
w = x(3, grad=True)
y = w.exp()
y.add_(1)
y.sum().backward()
---
w = x(3, grad=True)
y = w.sin()
y.add_(1)
y.sum().backward()
w.grad
---
w = x(3, grad=True)
h = w * 2
z = h * h
h.add_(1)
z.sum().backward()
---
w = x(3, grad=True)
h = w * 2
z = h + 1
h.mul_(3)
(z + h).sum().backward()
w.grad
---
w = x(3, grad=True)
y = T.zeros(3)
y.copy_(w)
(y * y).sum().backward()
w.grad, y.is_leaf
---
w = x(3, grad=True)
y = T.zeros(3)
y[1] = w[0]
y[2] = w[1] * 2
(y * T.tensor([1.0, 2.0, 3.0])).sum().backward()
w.grad
---
w = x(3, grad=True)
base = T.zeros(2, 3)
v = base[0]
base.add_(w)
v.requires_grad, v.sum().requires_grad
---
w = x(3, grad=True)
base = T.zeros(2, 3)
v = base[0]
base.add_(w)
(v * v).sum().backward()
w.grad
---
w = x(3, grad=True)
base = T.zeros(2, 3)
v = base[0]
v.add_(w)
(base * base).sum().backward()
w.grad, base.requires_grad
---
w = x(3, grad=True)
base = w * 2
v = base[1:]
v.mul_(3)
base.sum().backward()
w.grad
---
w = x(3, grad=True)
base = w * 2
v = base[1:]
base.mul_(3)
v.sum().backward()
w.grad
---
w = x(3, grad=True)
base = w * 2
v = base[1:]
u = v[0]
base.mul_(v.sum().detach())
v.mul_(2)
(u + base.sum()).backward()
w.grad
---
w = x(2, 3, grad=True)
base = w.clone()
base.t()[0].mul_(5)
base.view(-1)[4:].zero_()
(base * base).sum().backward()
w.grad
---
w = x(2, 3, grad=True)
base = w * 1
base[base > 0] = 0
base.sum().backward()
w.grad
---
w = x(2, 3, grad=True)
base = w * 1
base[T.tensor([0]), T.tensor([1, 2])] = w[1, :2] * 3
base.sum().backward()
w.grad
---
w = x(2, 3, grad=True)
base = w * 1
base[:, 1] *= base[:, 0]
---
w = x(2, 3, grad=True)
base = w * 1
base[:, 1] += base[:, 0]
(base ** 2).sum().backward()
w.grad
---
w = x(3, grad=True)
y = F.relu(w * 2, inplace=True)
y.sum().backward()
w.grad
---
w = x(3, grad=True)
h = w * 2
h.sigmoid_()
(h * 2).sum().backward()
w.grad
---
w = x(3, grad=True)
seen = []
w.register_hook(lambda g: seen.append(g.clone()))
((w * 2) + (w * 3)).sum().backward()
seen
---
w = x(3, grad=True)
w.register_hook(lambda g: g * 2)
h = w.register_hook(lambda g: g + 1)
(w * 3).sum().backward()
h.remove()
(w * 3).sum().backward()
w.grad
---
w = x(3, grad=True)
y = w * 2
y.register_hook(lambda g: g * 10)
y.retain_grad()
(y + y).sum().backward()
w.grad, y.grad, y.retains_grad
---
w = x(3, grad=True)
y = w * 2
y.retain_grad()
y.sum().backward(retain_graph=True)
y.sum().backward()
y.grad, w.grad
---
x(3).register_hook(lambda g: g)
---
x(3).retain_grad()
---
w = x(3, grad=True)
calls = []
w.register_post_accumulate_grad_hook(lambda t: calls.append(t.grad.clone()))
(w * 2).sum().backward()
(w * 2).sum().backward()
calls
---
w = x(3, grad=True)
T.autograd.grad((w ** 3).sum(), w)
---
w = x(3, grad=True)
u = x(3, seed=1, grad=True)
T.autograd.grad((w ** 3).sum(), (w, u))
---
w = x(3, grad=True)
u = x(3, seed=1, grad=True)
T.autograd.grad((w ** 3).sum(), (w, u), allow_unused=True)
---
w = x(3, grad=True)
u = x(3, seed=1, grad=True)
T.autograd.grad((w ** 3).sum(), (w, u), materialize_grads=True)
---
w = x(3, grad=True)
y = w * 2
z = (y ** 2).sum()
T.autograd.grad(z, [y, w])
---
w = x(3, grad=True)
y = (w ** 3).sum()
(g,) = T.autograd.grad(y, w, create_graph=True)
(h,) = T.autograd.grad(g.sum(), w, create_graph=True)
(k,) = T.autograd.grad(h.sum(), w)
g, h, k
---
w = x(3, grad=True)
(w ** 3).sum().backward(create_graph=True)
g = w.grad
w.grad = None
g.sum().backward()
w.grad
---
w = x(3, grad=True)
T.autograd.grad(w * 2, w)
---
w = x(3, grad=True)
T.autograd.grad(w * 2, w, T.ones(3))
---
w = x(3, grad=True)
T.autograd.grad([w.sum(), (w * w).sum()], w)
---
w = x(3, grad=True)
T.autograd.grad(w.sum(), x(3))
---
w = x(3, grad=True)
u = x(3, seed=1, grad=True)
(w * u).sum().backward(inputs=[w])
w.grad, u.grad
---
w = x(3, grad=True)
y = w * 2
(y * y).sum().backward(inputs=[y])
w.grad, y.grad
---
w = x(3, grad=True)
T.autograd.backward([w.sum(), (2 * w).sum()])
w.grad
---
w = x(3, grad=True)
T.autograd.backward([w, 2 * w], [T.ones(3), T.ones(3)])
w.grad
---
w = x(3, grad=True)
with T.no_grad():
    y = w * 2
    with T.enable_grad():
        z = w * 2
y.requires_grad, z.requires_grad, T.is_grad_enabled()
---
@T.no_grad()
def f(v):
    return v * 2
f(x(3, grad=True)).requires_grad
---
@T.enable_grad()
def f(v):
    return v * 2
with T.no_grad():
    y = f(x(3, grad=True))
y.requires_grad
---
w = x(3, grad=True)
with T.set_grad_enabled(False):
    y = w * 2
T.set_grad_enabled(False)
z = w * 2
T.set_grad_enabled(True)
y.requires_grad, z.requires_grad, (w * 2).requires_grad
---
w = x(3, grad=True)
with T.inference_mode():
    y = w * 2
y.requires_grad
---
a = x(3, 4, grad=True)
u, s = a.sort(dim=1)
(u * T.arange(4.0)).sum().backward()
a.grad
---
a = x(3, 4, grad=True)
v, k = a.max(1)
(v * v).sum().backward()
a.grad
---
a = x(3, 4, grad=True)
p, q = a.split([1, 3], dim=1)
(p.sum() * 2 + (q * q).sum()).backward()
a.grad
---
a = x(3, 4, grad=True)
sum(r.sum() * n for n, r in enumerate(a.unbind(1))).backward()
a.grad
---
a = x(3, 4, grad=True)
a[[0, 0, 2]].sum().backward()
a.grad
---
a = x(3, 4, grad=True)
(a[1:, ::2] * a[0, 1]).sum().backward()
a.grad
---
a = x(3, 4, grad=True)
T.cat([a, a * 2], 1).sum().backward()
a.grad
---
a = x(3, 4, grad=True)
(a.double() * 2).sum().backward()
a.grad
---
a = x(3, 1, grad=True)
(a + x(4)).sum().backward()
a.grad
---
a = x(3, grad=True)
a.grad = T.ones(3)
(a * 2).sum().backward()
a.grad
---
a = x(3, grad=True)
a.grad = T.ones(2)
---
a = x(3, grad=True)
a.grad = T.ones(3, dtype=T.float64)
---
a = x(3, grad=True)
a.grad = 3
---
a = x(3, grad=True)
(a * 2).sum().backward()
g = a.grad
(a * 2).sum().backward()
g
---
a = x(3, grad=True)
b = a.clone()
b.sum().backward(retain_graph=True)
a.grad.mul_(5)
b.sum().backward()
a.grad
---
a = x(3, grad=True)
seed = T.ones(3)
a.backward(seed)
a.grad.mul_(3)
seed
---
import copy
a = x(3, grad=True)
b = copy.deepcopy(a)
b.requires_grad, b.is_leaf, b
---
import copy
a = x(3, grad=True) * 2
copy.deepcopy(a)
---
import copy
a = x(3)
b = copy.copy(a)
b.add_(1)
a
---
import pickle
pickle.loads(pickle.dumps(x(2, 3)))
---
import pickle
b = pickle.loads(pickle.dumps(x(3, grad=True)))
b.requires_grad, b
---
a = x(3, grad=True)
b = a.detach()
b.add_(1)
a
---
a = x(3, grad=True)
b = a * a
a.data.add_(1)
b.sum().backward()
a.grad
---
a = x(3, grad=True)
b = a * a
a.detach().add_(1)
b.sum().backward()
---
class Double(T.autograd.Function):
    @staticmethod
    def forward(ctx, v, k):
        ctx.k = k
        return v * k
    @staticmethod
    def backward(ctx, g):
        return g * ctx.k, None
a = x(3, grad=True)
Double.apply(a, 4).sum().backward()
a.grad
---
class Two(T.autograd.Function):
    @staticmethod
    def forward(ctx, v, w):
        ctx.save_for_backward(v, w)
        return v * w, v + w
    @staticmethod
    def backward(ctx, g, h):
        v, w = ctx.saved_tensors
        return g * w + h, g * v + h
a, b = x(3, grad=True), x(3, seed=1, grad=True)
p, q = Two.apply(a, b)
(p * 2).sum().backward()
a.grad, b.grad, q.requires_grad
---
class Bad(T.autograd.Function):
    @staticmethod
    def forward(ctx, v, w):
        return v * w
    @staticmethod
    def backward(ctx, g):
        return g
Bad.apply(x(3, grad=True), x(3)).sum().backward()
---
class Shape(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return v * 2
    @staticmethod
    def backward(ctx, g):
        return T.ones(2)
Shape.apply(x(3, grad=True)).sum().backward()
---
class Setup(T.autograd.Function):
    @staticmethod
    def forward(v):
        return v.exp()
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y
a = x(3, dtype="float64", grad=True)
Setup.apply(a).sum().backward()
a.grad, T.autograd.gradcheck(Setup.apply, (a,)), T.autograd.gradgradcheck(Setup.apply, (a,))
---
class Dirty(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        v.mul_(3)
        ctx.mark_dirty(v)
        return v
    @staticmethod
    def backward(ctx, g):
        return g * 3
a = x(3, grad=True)
b = a * 1
c = Dirty.apply(b)
c.sum().backward()
a.grad, b is c
---
class NonDifferentiable(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        s = v > 0
        k = v.floor()
        ctx.mark_non_differentiable(k)
        return v * 2, k, s
    @staticmethod
    def backward(ctx, g, h, j):
        return g * 2
a = x(3, grad=True)
p, k, s = NonDifferentiable.apply(a)
p.sum().backward()
a.grad, k.requires_grad, s.requires_grad
---
class Identity(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        return v
    @staticmethod
    def backward(ctx, g):
        return g * 7
a = x(3, grad=True)
b = Identity.apply(a)
b.sum().backward()
a.grad, a is b
---
class Freed(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return v * v
    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return 2 * v * g
a = x(3, grad=True)
b = Freed.apply(a).sum()
b.backward()
b.backward()
---
class Changed(T.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return v * v
    @staticmethod
    def backward(ctx, g):
        (v,) = ctx.saved_tensors
        return 2 * v * g
a = x(3, grad=True) * 1
b = Changed.apply(a).sum()
a.add_(1)
b.backward()
---
a = x(3, grad=True)
with T.autograd.detect_anomaly(check_nan=True):
    y = T.sqrt(a * 0 - 1).sum()
    y.backward()
---
a = T.tensor([0.0, 1.0], requires_grad=True)
T.sqrt(a).sum().backward()
a.grad
---
a = T.tensor([0.0, 1.0], requires_grad=True)
a.pow(2).sum().backward()
a.grad
---
a = T.tensor([0.0, -1.0, 2.0], requires_grad=True)
a.abs().sum().backward()
a.grad
---
a = T.tensor([1.0, 1.0, 0.0], requires_grad=True)
a.max().backward()
a.grad
---
a = T.tensor([1.0, 1.0, 0.0], requires_grad=True)
a.norm().backward()
a.grad
---
a = T.zeros(3, requires_grad=True)
a.norm().backward()
a.grad
---
a = x(4, grad=True)
a.std().backward()
a.grad
---
a = x(2, 4, grad=True)
a.prod(1).sum().backward()
a.grad
---
a = x(2, 4, grad=True)
T.where(a > 0, a, a * 2).sum().backward()
a.grad
---
a = x(2, 4, grad=True)
a.clamp(-1, 1).sum().backward()
a.grad
---
a = x(3, grad=True)
b = a.unsqueeze(0).expand(2, 3)
b.sum().backward()
a.grad
---
a = x(3, grad=True) * 1
a.unsqueeze_(0)
a.mul_(2)
a.shape, a.requires_grad
---
a = x(3, grad=True)
b = (a * 1).requires_grad_()
b.is_leaf
""".split("\n---\n")
]
