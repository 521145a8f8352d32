"""Layers, losses, optimisers and schedulers to compare with PyTorch, and how each is run in either library."""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

# Constructor, and what it is called with: shapes of normal draws, or (kind, bound, shape).
MODULES: list[tuple[str, tuple[Any, ...]]] = [
    ("nn.Bilinear(3, 4, 5)", ((2, 3), (2, 4))),
    ("nn.Bilinear(3, 4, 5, bias=False)", ((2, 6, 3), (2, 6, 4))),
    ("nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)", ((2, 4, 9),)),
    ("nn.Conv1d(2, 3, 3, padding='same', padding_mode='circular')", ((2, 2, 7),)),
    ("nn.Conv2d(2, 3, 3, padding=1, padding_mode='reflect')", ((2, 2, 5, 6),)),
    ("nn.Conv2d(2, 3, (3, 2), padding=(2, 1), stride=2, padding_mode='replicate')", ((2, 2, 5, 6),)),
    ("nn.Conv3d(2, 3, 2)", ((2, 2, 4, 5, 3),)),
    ("nn.Conv3d(4, 6, (3, 2, 1), stride=(2, 1, 2), padding=(1, 0, 1), dilation=(2, 1, 1), groups=2)", ((4, 7, 5, 3),)),
    ("nn.Conv3d(2, 2, (2, 3, 3), padding='same')", ((1, 2, 4, 5, 3),)),
    ("nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)", ((2, 4, 5),)),
    ("nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 1), padding=1, groups=2, dilation=(1, 2))", ((2, 4, 5, 4),)),
    ("nn.ConvTranspose3d(4, 6, (3, 2, 1), stride=(2, 1, 2), padding=(1, 0, 0), output_padding=(1, 0, 1), groups=2)",
     ((2, 4, 3, 4, 2),)),
    ("nn.ConvTranspose3d(2, 3, 2, dilation=2, bias=False)", ((2, 3, 2, 3),)),
    ("nn.BatchNorm3d(3)", ((2, 3, 2, 3, 4),)),
    ("nn.GroupNorm(2, 4)", ((3, 4, 5),)),
    ("nn.GroupNorm(3, 6, affine=False)", ((3, 6, 2, 2),)),
    ("nn.InstanceNorm1d(3)", ((2, 3, 5),)),
    ("nn.InstanceNorm2d(3, affine=True, track_running_stats=True)", ((2, 3, 4, 5),)),
    ("nn.InstanceNorm2d(3, affine=True, track_running_stats=True).eval()", ((2, 3, 4, 5),)),
    ("nn.InstanceNorm3d(2, affine=True)", ((2, 2, 3, 2),)),
    ("nn.RMSNorm(5)", ((2, 5),)),
    ("nn.RMSNorm((2, 5), eps=0.1)", ((3, 2, 5),)),
    ("nn.LocalResponseNorm(3, alpha=0.1, k=2.0)", ((2, 5, 3, 2),)),
    ("nn.LocalResponseNorm(2, alpha=0.5)", ((2, 4, 3),)),
    ("nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True)", ((2, 3, 8),)),
    ("nn.MaxPool1d(2, return_indices=True)", ((3, 7),)),
    ("nn.MaxPool3d(2, return_indices=True)", ((2, 3, 4, 5, 6),)),
    ("nn.MaxPool3d((2, 3, 1), stride=(1, 2, 2), padding=(1, 1, 0), dilation=(1, 2, 1))", ((2, 3, 4, 7, 6),)),
    ("nn.AvgPool1d(3, stride=2, padding=1, count_include_pad=False)", ((2, 3, 8),)),
    ("nn.AvgPool3d(3, stride=2, padding=1, ceil_mode=True)", ((2, 3, 4, 5, 6),)),
    ("nn.AvgPool3d(2, padding=1, count_include_pad=False)", ((3, 4, 5, 6),)),
    ("nn.AvgPool3d(2, divisor_override=3)", ((1, 3, 4, 5, 6),)),
    ("nn.AdaptiveAvgPool1d(3)", ((2, 3, 7),)),
    ("nn.AdaptiveAvgPool3d((2, None, 3))", ((2, 3, 5, 2, 4),)),
    ("nn.AdaptiveMaxPool1d(3)", ((2, 3, 7),)),
    ("nn.AdaptiveMaxPool2d((3, 2), return_indices=True)", ((2, 3, 7, 5),)),
    ("nn.AdaptiveMaxPool3d((2, 3, 1))", ((3, 4, 5, 3),)),
    ("nn.LPPool1d(2, 3, stride=2)", ((2, 3, 8),)),
    ("nn.LPPool2d(3, 2)", (("leaf", (2, 3, 4, 5)),)),
    ("nn.LPPool3d(2, 2)", ((2, 3, 4, 5, 4),)),
    ("nn.ConstantPad1d((1, 2), 3.5)", ((2, 3, 4),)),
    ("nn.ConstantPad3d(1, -1.0)", ((2, 3, 4, 2, 2),)),
    ("nn.ZeroPad2d((1, 0, 2, -1))", ((2, 3, 4, 5),)),
    ("nn.ReflectionPad1d(2)", ((2, 3, 4),)),
    ("nn.ReflectionPad2d((1, 2, 0, 1))", ((2, 3, 4, 5),)),
    ("nn.ReflectionPad3d(1)", ((2, 3, 4, 5, 2),)),
    ("nn.ReplicationPad2d((1, 2, 0, 1))", ((3, 4, 5),)),
    ("nn.ReplicationPad3d(1)", ((2, 3, 2, 2, 2),)),
    ("nn.CircularPad1d((1, 2))", ((2, 3, 4),)),
    ("nn.CircularPad2d(1)", ((2, 3, 4, 5),)),
    ("nn.Upsample(scale_factor=2)", ((2, 3, 4),)),
    ("nn.Upsample(scale_factor=1.5, mode='bicubic')", ((2, 3, 4, 5),)),
    ("nn.Upsample(size=(5, 3), mode='bilinear')", ((2, 3, 4, 5),)),
    ("nn.UpsamplingBilinear2d(scale_factor=2)", ((2, 3, 4, 5),)),
    ("nn.PixelShuffle(2)", ((2, 8, 3, 2),)),
    ("nn.PixelUnshuffle(2)", ((2, 2, 4, 6),)),
    ("nn.ChannelShuffle(2)", ((2, 6, 3),)),
    ("nn.Unfold((2, 3), dilation=(1, 2), padding=1, stride=(2, 1))", ((2, 3, 5, 6),)),
    ("nn.Unfold(2)", ((3, 4, 4),)),
    ("nn.Fold((4, 5), (2, 3), padding=1, stride=(2, 1))", ((2, 18, 15),)),
    ("nn.Fold(4, 2, dilation=2)", ((12, 4),)),
    ("nn.CosineSimilarity()", ((3, 4), (3, 4))),
    ("nn.PairwiseDistance(p=3.0, keepdim=True)", ((3, 4), (3, 4))),
    ("nn.Embedding(7, 3, padding_idx=2, max_norm=0.7, scale_grad_by_freq=True)", (("index", 7, (2, 5)),)),
    ("nn.EmbeddingBag(7, 3, max_norm=0.7, mode='sum')", (("index", 7, (2, 5)),)),
    ("nn.EmbeddingBag(7, 3)", (("index", 7, (2, 5)),)),
    ("nn.EmbeddingBag(7, 3, mode='sum', padding_idx=2)", (("index", 7, (9,)), ("values", [0, 3, 3, 7]))),
    ("nn.EmbeddingBag(7, 3, mode='max')", (("index", 7, (9,)), ("values", [0, 3, 3, 7]))),
    ("nn.EmbeddingBag(7, 3, mode='mean', include_last_offset=True)", (("index", 7, (9,)), ("values", [0, 3, 3, 9]))),
    ("nn.CELU(0.7)", ((2, 3),)),
    ("nn.SELU()", ((2, 3),)),
    ("nn.ReLU6(inplace=True)", ((2, 30),)),
    ("nn.Hardtanh(-0.5, 0.7)", ((2, 3),)),
    ("nn.Hardsigmoid()", ((2, 30),)),
    ("nn.Hardswish()", ((2, 30),)),
    ("nn.Hardshrink(0.3)", ((2, 3),)),
    ("nn.Softshrink(0.3)", ((2, 3),)),
    ("nn.Softsign()", ((2, 3),)),
    ("nn.Tanhshrink()", ((2, 3),)),
    ("nn.Threshold(0.1, 2.0)", ((2, 3),)),
    ("nn.LogSigmoid()", ((2, 3),)),
    ("nn.Mish()", ((2, 3),)),
    ("nn.PReLU()", ((2, 3),)),
    ("nn.PReLU(3)", ((2, 3, 4),)),
    ("nn.RReLU().eval()", ((2, 3),)),
    ("nn.GLU(1)", ((2, 4),)),
    ("nn.Softmin(dim=1)", ((2, 4),)),
    ("nn.Softmax2d()", ((2, 3, 2, 2),)),
    ("nn.AlphaDropout(0.5).eval()", ((2, 3),)),
    ("nn.Dropout2d(1.0)", ((2, 3, 2, 2),)),
    ("nn.RNN(3, 5)", ((4, 2, 3),)),
    ("nn.RNN(3, 5, num_layers=2, nonlinearity='relu', bias=False)", ((4, 3),)),
    ("nn.LSTM(3, 5, num_layers=2, bidirectional=True)", ((4, 2, 3),)),
    ("nn.LSTM(3, 5, batch_first=True, proj_size=2)", ((2, 4, 3),)),
    ("nn.GRU(3, 5, num_layers=2, bidirectional=True, batch_first=True)", ((2, 4, 3), (4, 2, 5))),
    ("nn.RNNCell(3, 5)", ((2, 3), (2, 5))),
    ("nn.LSTMCell(3, 5)", ((2, 3),)),
    ("nn.GRUCell(3, 5, bias=False)", ((3,), (5,))),
    ("nn.MultiheadAttention(8, 2)", ((5, 3, 8), (4, 3, 8), (4, 3, 8))),
    ("nn.MultiheadAttention(8, 4, batch_first=True, kdim=3, vdim=5, bias=False)", ((2, 5, 8), (2, 4, 3), (2, 4, 5))),
    ("nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True)", ((5, 8), (4, 8), (4, 8))),
    ("nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)", ((5, 3, 8),)),
    ("nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation='gelu', norm_first=True)", ((5, 3, 8),)),
    ("nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)", ((3, 5, 8), (3, 4, 8))),
    ("nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2, nn.LayerNorm(8))", ((5, 3, 8),)),
    ("nn.Transformer(8, 2, 1, 2, 16, dropout=0.0)", ((5, 3, 8), (4, 3, 8))),
    ("nn.BCELoss()", (("leaf", (4, 3)), ("unit", (4, 3)))),
    ("nn.KLDivLoss(reduction='batchmean')", ((4, 3), ("unit", (4, 3)))),
    ("nn.KLDivLoss(log_target=True, reduction='sum')", ((4, 3), (4, 3))),
    ("nn.SmoothL1Loss(beta=0.5)", ((4, 3), (4, 3))),
    ("nn.HuberLoss(delta=0.5)", ((4, 3), (4, 3))),
    ("nn.SoftMarginLoss()", ((4, 3), ("sign", (4, 3)))),
    ("nn.MultiMarginLoss()", ((4, 3), ("index", 3, (4,)))),
    ("nn.MultiMarginLoss(p=2, margin=0.5, reduction='none')", ((4, 3), ("index", 3, (4,)))),
    ("nn.MultiLabelMarginLoss()", ((2, 4), ("values", [[3, 0, -1, 1], [-1, 1, 2, 0]]))),
    ("nn.MultiLabelSoftMarginLoss()", ((4, 3), ("unit", (4, 3)))),
    ("nn.PoissonNLLLoss()", ((4, 3), ("positive", (4, 3)))),
    ("nn.PoissonNLLLoss(log_input=False, full=True)", (("leaf", (4, 3)), ("positive", (4, 3)))),
    ("nn.GaussianNLLLoss()", ((4, 3), (4, 3), ("positive", (4, 1)))),
    ("nn.GaussianNLLLoss(full=True, reduction='sum')", ((4, 3), (4, 3), ("positive", (4, 3)))),
    ("nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 9, 15], div_value=2.0)", ((6, 8), ("index", 20, (6,)))),
    ("nn.LinearCrossEntropyLoss(5, 4, label_smoothing=0.1, bias=True)", ((6, 5), ("index", 4, (6,)))),
    ("nn.MSELoss(size_average=False)", ((4, 3), (4, 3))),
    ("nn.HingeEmbeddingLoss(0.8)", ((4, 3), ("sign", (4, 3)))),
    ("nn.MarginRankingLoss(0.2)", ((4,), (4,), ("sign", (4,)))),
    ("nn.CosineEmbeddingLoss(0.1)", ((4, 3), (4, 3), ("sign", (4,)))),
    ("nn.TripletMarginLoss(swap=True)", ((4, 3), (4, 3), (4, 3))),
    ("nn.TripletMarginWithDistanceLoss(margin=0.5)", ((4, 3), (4, 3), (4, 3))),
    ("nn.CTCLoss()", (("logs", (6, 3, 5)), ("values", [[1, 2, 2], [3, 1, 4], [2, 1, 1]]), ("values", [6, 5, 4]),
                      ("values", [3, 2, 1]))),
    ("nn.CTCLoss(blank=1, reduction='sum', zero_infinity=True)",
     (("logs", (4, 2, 5)), ("values", [2, 2, 2, 3, 4]), ("values", [4, 4]), ("values", [3, 2]))),
    ("nn.CTCLoss(reduction='none')", (("logs", (4, 5)), ("values", [2, 3]), ("values", [4]), ("values", [2]))),
    ("nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))", ((2, 3),)),
    ("nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 2), dim=1)", ((2, 2, 3, 3),)),
    ("nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4))", ((2, 3),)),
    ("nn.utils.parametrizations.spectral_norm(nn.ConvTranspose2d(2, 3, 2), n_power_iterations=2)", ((2, 2, 3, 3),)),
    ("nn.utils.spectral_norm(nn.Linear(3, 4))", ((2, 3),)),
]  # fmt: skip

OPTIMISERS = [
    "SGD({}, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)",
    "Adam({}, lr=0.05, amsgrad=True)",
    "AdamW({}, lr=0.05)",
    "Adagrad({}, lr=0.1)",
    "Adagrad({}, lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2)",
    "Adadelta({})",
    "Adadelta({}, lr=0.5, rho=0.8, weight_decay=0.1, maximize=True)",
    "RMSprop({}, lr=0.02)",
    "RMSprop({}, lr=0.02, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.1)",
    "Adamax({}, lr=0.05)",
    "Adamax({}, lr=0.05, weight_decay=0.1, betas=(0.8, 0.9))",
    "NAdam({}, lr=0.05)",
    "NAdam({}, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)",
    "RAdam({}, lr=0.05)",
    "RAdam({}, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)",
    "SGD({}, lr=0.1, momentum=0.9, dampening=0.5, maximize=True)",
    "Adam({}, lr=0.05, weight_decay=0.1, maximize=True)",
    "Adam({}, lr=0.05, weight_decay=0.1, decoupled_weight_decay=True)",
    "Adafactor({}, lr=0.05)",
    "Adafactor({}, lr=0.05, weight_decay=0.1, d=1.5)",
    "ASGD({}, lr=0.1, t0=5)",
    "Rprop({}, lr=0.05)",
    "LBFGS({}, lr=0.5, max_iter=3)",
    "LBFGS({}, max_iter=4, history_size=3, line_search_fn='strong_wolfe')",
]

SCHEDULERS = [
    "StepLR(o, 3, gamma=0.5)",
    "MultiStepLR(o, [2, 5, 5, 9], gamma=0.5)",
    "ConstantLR(o, factor=0.5, total_iters=4)",
    "LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=6)",
    "ExponentialLR(o, 0.9)",
    "PolynomialLR(o, total_iters=7, power=2.0)",
    "CosineAnnealingLR(o, T_max=5, eta_min=0.01)",
    "CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.01)",
    "LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (e + 1)])",
    "MultiplicativeLR(o, lambda e: 0.95)",
    "CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=False)",
    "CyclicLR(o, 0.01, 0.1, step_size_up=3, step_size_down=2, mode='exp_range', gamma=0.9)",
    "CyclicLR(o, 0.01, 0.1, step_size_up=4, mode='triangular2')",
    "OneCycleLR(o, max_lr=0.3, total_steps=20)",
    "OneCycleLR(o, max_lr=[0.3, 0.2], epochs=4, steps_per_epoch=4, three_phase=True, anneal_strategy='linear')",
    "SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)], milestones=[3])",
    "ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)])",
]


def inputs(specification: tuple[Any, ...], library: Any) -> list[Any]:
    """The tensors that a module is called with."""
    generator = np.random.default_rng(0)
    found = []
    for entry in specification:
        if not entry or not isinstance(entry[0], str):
            entry = ("normal", entry)
        kind, *details = entry
        match kind:
            case "index":
                array = generator.integers(0, details[0], details[1])
            case "values":
                array = np.array(details[0])
            case "sign":
                array = generator.integers(0, 2, details[0]).astype("float32") * 2 - 1
            case "unit" | "leaf":
                array = generator.uniform(0.1, 0.9, details[0]).astype("float32")
            case "positive":
                array = generator.uniform(0.1, 3.0, details[0]).astype("float32")
            case _:
                array = generator.standard_normal(details[0]).astype("float32")
        tensor = library.from_numpy(np.asarray(array))
        found.append(tensor.requires_grad_() if kind in ("normal", "leaf", "logs") else tensor)
    return found


def fill(module: Any, library: Any) -> None:
    """Give parameters and floating-point buffers values that depend on their names only."""
    with library.no_grad():
        for name, value in module.state_dict().items():
            array = np.random.default_rng(zlib.crc32(name.encode())).uniform(0.1, 0.7, tuple(value.shape))
            if name.endswith(("_u", "_v")):
                array = array / np.sqrt((array**2).sum())
            if str(value.dtype).endswith("float32"):
                value.copy_(library.from_numpy(array.astype("float32")))


def flat(value: Any) -> list[Any]:
    """The tensors in a result."""
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [] if value is None else [value]


def run_module(constructor: str, specification: tuple[Any, ...], library: Any) -> Iterator[tuple[str, Any]]:
    """Names and arrays: outputs of the second call, gradients of inputs and parameters, and the state after."""
    module = eval(constructor, {"nn": library.nn})
    fill(module, library)
    given = inputs(specification, library)
    passed = [x * 1 if "inplace" in constructor else x for x in given]
    if "CTC" in constructor:
        passed[0] = passed[0].log_softmax(-1)
    module(*passed)
    passed = [x * 1 if "inplace" in constructor else x for x in passed]
    outputs = flat(module(*passed))
    total = 0.0
    for n, output in enumerate(outputs):
        yield f"output {n}", output.detach().numpy()
        if str(output.dtype).endswith("float32"):
            weight = np.random.default_rng(n).uniform(-1, 1, tuple(output.shape)).astype("float32")
            total = total + (output * library.from_numpy(np.asarray(weight))).sum()
    total.backward()  # type: ignore[attr-defined]
    for n, tensor in enumerate(given):
        if tensor.requires_grad:
            yield f"gradient of input {n}", tensor.grad.numpy()
    for name, parameter in module.named_parameters():
        yield f"gradient of {name}", parameter.grad.numpy() if parameter.grad is not None else np.zeros(0)
    for name, value in module.state_dict().items():
        yield f"state {name}", value.detach().numpy()


def run_optimiser(text: str, library: Any, steps: int = 20) -> Iterator[tuple[str, Any]]:
    """Names and arrays: parameters after some steps on a small regression, and the optimiser's state."""
    generator = np.random.default_rng(3)
    shapes: list[tuple[int, ...]] = [(3, 4), (4,), ()]
    # Quasi-Newton steps divide by small differences, where roundings would show in float32.
    dtype = "float64" if text.startswith("LBFGS") else "float32"
    arrays = [np.asarray(generator.standard_normal(s)).astype(dtype) for s in shapes]
    parameters = [library.nn.Parameter(library.from_numpy(a)) for a in arrays]
    # LBFGS spoils on parameters without gradients: it asks for a flat vector of all of them.
    unused = [] if text.startswith("LBFGS") else [library.nn.Parameter(library.ones(2))]
    optimiser = eval("optim." + text.format("p"), {"optim": library.optim, "p": [*parameters, *unused]})
    data = library.from_numpy(generator.standard_normal((5, 3)).astype(dtype))

    def closure() -> Any:
        optimiser.zero_grad()
        a, b, c = parameters
        loss = ((data @ a + b).tanh() * c - 0.3).pow(2).mean()
        loss.backward()
        return loss

    # A line search chooses by comparisons, where the last digit decides once the loss is flat.
    for _ in range(3 if "wolfe" in text else steps):
        if text.startswith("LBFGS"):
            optimiser.step(closure)
        else:
            closure()
            optimiser.step()
    for n, parameter in enumerate(parameters):
        yield f"parameter {n}", parameter.detach().numpy()
    if not text.startswith("LBFGS"):
        for number, entries in optimiser.state_dict()["state"].items():
            for name, value in entries.items():
                if hasattr(value, "detach"):
                    yield f"state {number} {name}", value.detach().numpy()


def run_scheduler(text: str, library: Any) -> list[list[float]]:
    """The learning rates of two groups over 16 epochs (and momentum, where it is cycled)."""
    s = library.optim.lr_scheduler
    groups = [
        {"params": [library.nn.Parameter(library.ones(1))]},
        {"params": [library.nn.Parameter(library.ones(1))], "lr": 0.05},
    ]
    o = library.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = eval(text if text.startswith("s.") else "s." + text, {"s": s, "o": o})
    rates = []
    for _ in range(16):
        rates.append([g[k] for g in o.param_groups for k in ("lr", "momentum")])
        o.step()
        scheduler.step()
    return rates
