"""Programs of the kinds that tutorials of PyTorch show, as functions of the library that they run on."""

import copy
import math
import os
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

PROGRAMS: dict[str, Callable[[Any], Any]] = {}


def program(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """List a program."""
    PROGRAMS[function.__name__] = function
    return function


def seeded(torch: Any, module: Any) -> Any:
    """The module with parameters that do not depend on the library."""
    g = np.random.default_rng(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.from_numpy((g.standard_normal(tuple(p.shape)) * 0.2).astype("f")))
    return module


def data(torch: Any, n: int = 64, d: int = 4, seed: int = 0, classes: int = 3) -> Any:
    """Inputs and class numbers."""
    g = np.random.default_rng(seed)
    x = g.standard_normal((n, d)).astype("f")
    y = g.integers(0, classes, n)
    return torch.from_numpy(x), torch.from_numpy(y)


@program
def linear_regression(torch: Any) -> Any:
    """Linear regression by hand, with in-place steps under no_grad."""
    x = torch.linspace(-1, 1, 20).unsqueeze(1)
    y = 3 * x + 1
    w = torch.zeros(1, 1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    ls = []
    for _ in range(30):
        loss = ((x @ w + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
            w.grad.zero_()
            b.grad.zero_()
        ls.append(loss.item())
    return ls, w.item(), b.item()


@program
def classifier(torch: Any) -> Any:
    """A classifier with batch norm, momentum and clipping."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self, d, h, c):
            super().__init__()
            self.fc1 = nn.Linear(d, h)
            self.fc2 = nn.Linear(h, c)
            self.bn = nn.BatchNorm1d(h)

        def forward(self, x):
            return self.fc2(torch.relu(self.bn(self.fc1(x))))

    m = seeded(torch, Net(4, 8, 3))
    x, y = data(torch)
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    crit = nn.CrossEntropyLoss()
    out = []
    for _ in range(10):
        m.train()
        opt.zero_grad()
        o = m(x)
        loss = crit(o, y)
        loss.backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        out.append(round(loss.item(), 5))
    m.eval()
    with torch.no_grad():
        acc = (m(x).argmax(1) == y).float().mean().item()
    return out, acc, [k for k in m.state_dict()], sum(p.numel() for p in m.parameters()), repr(m)


@program
def custom_function(torch: Any) -> Any:
    """An activation with a derivative of its own, checked."""

    class Swish(torch.autograd.Function):
        @staticmethod
        def forward(ctx, i):
            s = torch.sigmoid(i)
            ctx.save_for_backward(i, s)
            return i * s

        @staticmethod
        def backward(ctx, g):
            i, s = ctx.saved_tensors
            return g * (s * (1 + i * (1 - s)))

    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    y = Swish.apply(x)
    y.sum().backward()
    return x.grad, torch.autograd.gradcheck(Swish.apply, (x,))


@program
def causal_attention(torch: Any) -> Any:
    """Causal self-attention from scratch."""
    nn = torch.nn
    F = nn.functional

    class Head(nn.Module):
        def __init__(s, n, h):
            super().__init__()
            s.k = nn.Linear(n, h, bias=False)
            s.q = nn.Linear(n, h, bias=False)
            s.v = nn.Linear(n, h, bias=False)
            s.register_buffer("tril", torch.tril(torch.ones(8, 8)))

        def forward(s, x):
            t = x.shape[1]
            k = s.k(x)
            q = s.q(x)
            w = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
            w = w.masked_fill(s.tril[:t, :t] == 0, float("-inf"))
            w = F.softmax(w, dim=-1)
            return w @ s.v(x)

    m = seeded(torch, nn.ModuleList([Head(6, 3) for _ in range(2)]))
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, 6)).astype("f")).requires_grad_()
    o = torch.cat([h(x) for h in m], dim=-1)
    o.pow(2).mean().backward()
    return o, x.grad


@program
def encoder_layer(torch: Any) -> Any:
    """An encoder layer under a causal mask."""
    nn = torch.nn
    m = seeded(torch, nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True))
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, 8)).astype("f"))
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    return m(x, src_mask=mask), mask


@program
def long_short_term_memory(torch: Any) -> Any:
    """Two layers of LSTM."""
    nn = torch.nn
    m = seeded(torch, nn.LSTM(4, 6, num_layers=2, batch_first=True))
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 5, 4)).astype("f"))
    o, (h, c) = m(x)
    o.sum().backward()
    return o, h, c, m.weight_ih_l0.grad


@program
def recurrent_cell(torch: Any) -> Any:
    """A GRU cell, step by step."""
    nn = torch.nn
    c = seeded(torch, nn.GRUCell(3, 4))
    h = torch.zeros(2, 4)
    outs = []
    for t in range(4):
        h = c(torch.ones(2, 3) * t, h)
        outs.append(h)
    return torch.stack(outs, 1)


@program
def convolutional_network(torch: Any) -> Any:
    """A small convolutional network and Adam."""
    nn = torch.nn
    F = nn.functional
    m = seeded(
        torch,
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 8, 3),
            nn.BatchNorm2d(8),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.0),
            nn.Linear(8, 10),
        ),
    )
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((4, 1, 12, 12)).astype("f"))
    y = torch.tensor([1, 2, 3, 4])
    opt = torch.optim.Adam(m.parameters(), lr=1e-2)
    out = []
    for _ in range(5):
        loss = F.cross_entropy(m(x), y)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        out.append(loss.item())
    return out


@program
def save_and_load(torch: Any) -> Any:
    """State of a model and its optimiser, saved and loaded."""
    nn = torch.nn
    m = seeded(torch, nn.Linear(3, 2))
    o = torch.optim.Adam(m.parameters())
    m(torch.ones(1, 3)).sum().backward()
    o.step()
    with tempfile.TemporaryDirectory() as folder:
        p = os.path.join(folder, "state")
        torch.save({"model": m.state_dict(), "opt": o.state_dict(), "epoch": 3}, p)
        c = torch.load(p)
    m2 = nn.Linear(3, 2)
    r = m2.load_state_dict(c["model"])
    o2 = torch.optim.Adam(m2.parameters())
    o2.load_state_dict(c["opt"])
    return m2.weight, c["epoch"], str(r), o2.state_dict()["state"][0]["step"]


@program
def mixing_with_numpy(torch: Any) -> Any:
    """Arrays and tensors over the same memory."""
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    t = torch.from_numpy(a)
    t[0, 0] = 100
    b = t.numpy()
    c = np.concatenate([b, b])
    u = torch.tensor(c).mean(0).numpy().tolist()
    return (
        a[0, 0].item(),
        u,
        np.asarray(t).sum().item(),
        torch.as_tensor(a).add_(1)[0, 1].item(),
        a[0, 1].item(),
        float(t.max()),
        t.cpu().detach().numpy().shape,
        torch.stack([torch.from_numpy(x) for x in a]).shape,
    )


@program
def variational_autoencoder(torch: Any) -> Any:
    """The loss of a variational autoencoder."""
    nn = torch.nn
    F = nn.functional
    e = seeded(torch, nn.Linear(4, 4))
    d = seeded(torch, nn.Linear(2, 4))
    x, _ = data(torch, 8)
    mu, lv = e(x).chunk(2, dim=-1)
    std = torch.exp(0.5 * lv)
    z = mu + std * torch.ones_like(std) * 0.3
    r = d(z)
    rec = F.mse_loss(r, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + lv - mu.pow(2) - lv.exp())
    (rec + kl).backward()
    return rec, kl, e.weight.grad


@program
def adversarial_training(torch: Any) -> Any:
    """A generator against a discriminator."""
    nn = torch.nn
    G = seeded(torch, nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(0.2), nn.Linear(4, 4), nn.Tanh()))
    D = seeded(torch, nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU(0.2), nn.Linear(4, 1), nn.Sigmoid()))
    x, _ = data(torch, 8)
    z, _ = data(torch, 8, 2, 1)
    bce = nn.BCELoss()
    og = torch.optim.Adam(G.parameters(), betas=(0.5, 0.999))
    od = torch.optim.Adam(D.parameters())
    out = []
    for _ in range(3):
        od.zero_grad()
        loss = bce(D(x), torch.ones(8, 1)) + bce(D(G(z).detach()), torch.zeros(8, 1))
        loss.backward()
        od.step()
        og.zero_grad()
        lg = bce(D(G(z)), torch.ones(8, 1))
        lg.backward()
        og.step()
        out += [loss.item(), lg.item()]
    return out


@program
def deep_q_learning(torch: Any) -> Any:
    """Temporal differences with a target network."""
    nn = torch.nn
    F = nn.functional
    q = seeded(torch, nn.Linear(4, 2))
    t = copy.deepcopy(q)
    s, _ = data(torch, 8)
    s2, _ = data(torch, 8, 4, 1)
    a = torch.tensor([0, 1] * 4)
    r = torch.arange(8.0)
    done = torch.tensor([0.0, 1.0] * 4)
    qv = q(s).gather(1, a.unsqueeze(1)).squeeze(1)
    with torch.no_grad():
        tgt = r + 0.99 * t(s2).max(1)[0] * (1 - done)
    loss = F.smooth_l1_loss(qv, tgt)
    loss.backward()
    for tp, p in zip(t.parameters(), q.parameters(), strict=True):
        tp.data.copy_(0.9 * tp.data + 0.1 * p.data)
    return loss, q.weight.grad, t.weight


@program
def policy_gradient(torch: Any) -> Any:
    """REINFORCE with an entropy bonus."""
    p = seeded(torch, torch.nn.Linear(4, 2))
    s, _ = data(torch, 6)
    lp = torch.log_softmax(p(s), -1)
    a = torch.tensor([0, 1, 0, 1, 1, 0])
    R = torch.tensor([1.0, 2, 3, 4, 5, 6])
    R = (R - R.mean()) / (R.std() + 1e-8)
    loss = -(lp[torch.arange(6), a] * R).mean() - 0.01 * (-(lp.exp() * lp).sum(-1)).mean()
    loss.backward()
    return loss, p.weight.grad


@program
def embeddings(torch: Any) -> Any:
    """Masked means of embeddings, and positional encodings."""
    nn = torch.nn
    e = seeded(torch, nn.Embedding(10, 3, padding_idx=0))
    x = torch.tensor([[1, 2, 0], [4, 5, 0]])
    o = e(x)
    mask = (x != 0).unsqueeze(-1).float()
    m = (o * mask).sum(1) / mask.sum(1)
    m.sum().backward()
    pe = torch.zeros(5, 6)
    pos = torch.arange(0, 5).unsqueeze(1).float()
    div = torch.exp(torch.arange(0, 6, 2).float() * (-math.log(10000.0) / 6))
    pe[:, 0::2] = torch.sin(pos * div)
    pe[:, 1::2] = torch.cos(pos * div)
    return m, e.weight.grad, pe


@program
def schedules(torch: Any) -> Any:
    """Learning rates over steps."""
    m = torch.nn.Linear(1, 1)
    o = torch.optim.SGD(m.parameters(), lr=1.0)
    s = torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=10)
    out = []
    for _ in range(10):
        o.step()
        s.step()
        out.append(round(o.param_groups[0]["lr"], 6))
    s2 = torch.optim.lr_scheduler.LambdaLR(o, lambda e: 0.9**e)
    s2.step()
    return out, s2.get_last_lr()


@program
def first_steps(torch: Any) -> Any:
    """What the first page of every tutorial does."""
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    r = []
    r += [
        x.shape,
        x.dtype == torch.int64,
        x[0],
        x[:, 1],
        x.T,
        x.sum(),
        x.float().mean(dim=0),
        x.view(3, 2),
        x.reshape(-1),
        x * 2,
        x @ x.T,
        torch.cat([x, x], dim=1),
        torch.stack([x, x]).shape,
        x.max(),
        x.argmax(),
        x.clamp(2, 5),
        (x > 2).sum(),
        x[x > 2],
        torch.where(x > 2, x, torch.zeros_like(x)),
        x.unsqueeze(0).shape,
        x.permute(1, 0),
        x.tolist(),
        torch.arange(0, 10, 2),
        torch.linspace(0, 1, 3),
        torch.eye(2),
        torch.ones(2, 3).std(),
        x.prod(),
        x.cumsum(1),
        x.flip(0),
        x.repeat(1, 2),
        x.unique(),
        x.sort(descending=True)[0],
        x.topk(2)[1],
        torch.einsum("ij,kj->ik", x, x),
        x.expand(2, 2, 3).shape,
        x.type(torch.float32),
        x.double().dtype == torch.float64,
        x.ne(3),
        torch.allclose(x.float(), x.float()),
        x.numel(),
        x.ndim,
    ]
    return r


@program
def k_means(torch: Any) -> Any:
    """Clusters by Lloyd's algorithm."""
    x, _ = data(torch, 50, 2)
    c = x[:3].clone()
    for _ in range(5):
        d = torch.cdist(x, c)
        nearest = d.argmin(1)
        c = torch.stack([x[nearest == k].mean(0) for k in range(3)])
    return c, nearest


@program
def principal_components(torch: Any) -> Any:
    """Principal components, by both ways."""
    x, _ = data(torch, 20, 5)
    x = x - x.mean(0)
    _, S, V = torch.linalg.svd(x, full_matrices=False)
    cov = x.T @ x / (len(x) - 1)
    w, _ = torch.linalg.eigh(cov)
    return S, w, (x @ V[:2].T).abs(), torch.linalg.matrix_rank(x)


@program
def newtons_method(torch: Any) -> Any:
    """Newton's method with Hessians."""

    def f(x):
        return (x**4).sum() + x[0] * x[1]

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        H = torch.autograd.functional.hessian(f, x)
        (g,) = torch.autograd.grad(f(x), x)
        x = (x - torch.linalg.solve(H, g)).detach().requires_grad_()
    return x


@program
def meta_learning(torch: Any) -> Any:
    """A gradient through a gradient step."""
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    x, _ = data(torch, 8, 2)
    inner = ((x @ w) ** 2).mean()
    (g,) = torch.autograd.grad(inner, w, create_graph=True)
    w2 = w - 0.1 * g
    outer = ((x @ w2 - 1) ** 2).mean()
    outer.backward()
    return outer, w.grad


@program
def gradient_penalty(torch: Any) -> Any:
    """A penalty on the norm of a gradient."""
    D = seeded(torch, torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)))
    x, _ = data(torch, 8)
    x.requires_grad_()
    o = D(x)
    g = torch.autograd.grad(
        o, x, grad_outputs=torch.ones_like(o), create_graph=True, retain_graph=True, only_inputs=True
    )[0]
    gp = ((g.norm(2, dim=1) - 1) ** 2).mean()
    gp.backward()
    return gp, D[0].weight.grad


@program
def activations_by_hooks(torch: Any) -> Any:
    """Activations and gradients taken by hooks."""
    m = seeded(torch, torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    acts = {}
    m[0].register_forward_hook(lambda mod, i, o: acts.__setitem__("fc", o.detach()))
    m[0].register_full_backward_hook(lambda mod, gi, go: acts.__setitem__("g", go[0]))
    x, _ = data(torch, 4)
    m(x).sum().backward()
    return acts["fc"], acts["g"]


@program
def moving_average(torch: Any) -> Any:
    """A moving average of parameters."""
    m = seeded(torch, torch.nn.Linear(2, 2))
    e = copy.deepcopy(m)
    e.requires_grad_(False)
    for p in m.parameters():
        p.data.mul_(2)
    with torch.no_grad():
        for a, b in zip(e.parameters(), m.parameters(), strict=True):
            a.mul_(0.9).add_(b, alpha=0.1)
    sd = {k: v.clone() for k, v in e.state_dict().items()}
    return sd


@program
def parameter_groups(torch: Any) -> Any:
    """Groups of parameters, some frozen."""
    nn = torch.nn
    m = seeded(torch, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))
    o = torch.optim.AdamW(
        [{"params": m[0].parameters(), "lr": 1e-2}, {"params": m[1].parameters()}], lr=1e-3, weight_decay=0.1
    )
    for p in m[0].parameters():
        p.requires_grad = False
    x = torch.ones(3, 2)
    for _ in range(3):
        o.zero_grad()
        m(x).mean().backward()
        o.step()
    return list(m.parameters())


@program
def packed_sequences(torch: Any) -> Any:
    """Sequences of several lengths."""
    nn = torch.nn
    from_ = nn.utils.rnn
    s = [torch.arange(3.0).unsqueeze(1), torch.arange(2.0).unsqueeze(1)]
    p = from_.pad_sequence(s, batch_first=True)
    m = seeded(torch, nn.GRU(1, 2, batch_first=True))
    pk = from_.pack_padded_sequence(p, [3, 2], batch_first=True)
    o, h = m(pk)
    o, lengths = from_.pad_packed_sequence(o, batch_first=True)
    return p, o, lengths, h


@program
def early_stopping(torch: Any) -> Any:
    """Early stopping and a plateau schedule."""
    best = float("inf")
    bad = 0
    hist = []
    m = seeded(torch, torch.nn.Linear(4, 1))
    x, y = data(torch)
    y = y.float().unsqueeze(1)
    o = torch.optim.RMSprop(m.parameters(), lr=0.05)
    sch = torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1)
    for _ in range(15):
        loss = torch.nn.functional.mse_loss(m(x), y)
        o.zero_grad()
        loss.backward()
        o.step()
        sch.step(loss)
        hist.append(round(loss.item(), 5))
        if loss.item() < best - 1e-4:
            best = loss.item()
            bad = 0
            state = {k: v.clone() for k, v in m.state_dict().items()}
        else:
            bad += 1
        if bad > 3:
            break
    m.load_state_dict(state)
    return hist, m.weight


@program
def confusion_matrix(torch: Any) -> Any:
    """A confusion matrix by indexed sums."""
    p = torch.tensor([0, 1, 2, 2, 1])
    t = torch.tensor([0, 1, 1, 2, 0])
    cm = torch.zeros(3, 3, dtype=torch.int64)
    for a, b in zip(t, p, strict=True):
        cm[a, b] += 1
    prec = cm.diag().float() / cm.sum(0).clamp(min=1)
    return cm, prec, (p == t).float().mean(), torch.bincount(t * 3 + p, minlength=9).view(3, 3)


@program
def writes_in_the_graph(torch: Any) -> Any:
    """Writes into what is recorded."""
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    y[0] = 5
    y[1:] += x[1:]
    z = y.clone()
    z.mul_(y)
    z.sum().backward()
    return y, x.grad


@program
def up_and_down(torch: Any) -> Any:
    """Pooling, transposed convolution, interpolation, padding."""
    nn = torch.nn
    F = nn.functional
    c = seeded(torch, nn.Conv2d(1, 2, 3, padding=1))
    u = seeded(torch, nn.ConvTranspose2d(2, 1, 2, stride=2))
    x = torch.arange(64.0).view(1, 1, 8, 8) / 64
    d = F.max_pool2d(c(x), 2)
    y = u(d)
    up = F.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat([y, up], 1), F.pad(y, (1, 1, 1, 1), mode="reflect")


@program
def losses(torch: Any) -> Any:
    """Many losses at once."""
    nn = torch.nn
    a = torch.tensor([[0.2, -0.5], [1.0, 0.3]], requires_grad=True)
    t = torch.tensor([1, 0])
    b = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    r = [
        nn.CrossEntropyLoss(label_smoothing=0.1)(a, t),
        nn.NLLLoss()(a.log_softmax(1), t),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 1.0]))(a, b),
        nn.L1Loss()(a, b),
        nn.HuberLoss()(a, b),
        nn.KLDivLoss(reduction="batchmean")(a.log_softmax(1), b + 0.1),
        nn.CosineEmbeddingLoss()(a, b, torch.tensor([1.0, -1.0])),
        nn.MarginRankingLoss()(a[0], a[1], torch.ones(2)),
        nn.TripletMarginLoss()(a, b, -b),
    ]
    sum(r).backward()
    return r, a.grad
