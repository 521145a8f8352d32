"""Short-time Fourier transforms and their inverse."""

import warnings
from typing import Any

from . import creation
from .families import with_out
from .functions import call as _call
from .placement import beside
from .tensor import Tensor

FUNCTIONS = ("istft", "stft")
METHODS = FUNCTIONS

__all__ = ["FUNCTIONS", "METHODS", "istft", "stft"]


@beside
def _window(name: str, window: Tensor | None, win_length: int, n_fft: int, dtype: Any) -> Tensor:
    """The window in the middle of n_fft points; ones where none is given."""
    if window is None:
        window = creation.ones(win_length, dtype=dtype)
    if tuple(window.shape) != (win_length,):
        raise RuntimeError(
            f"{name}: expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
            f"{list(window.shape)}"
        )
    if win_length == n_fft:
        return window
    left = (n_fft - win_length) // 2
    return _call("pad", window, (left, n_fft - win_length - left))  # type: ignore[no-any-return]


def _lengths(name: str, n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if hop <= 0:
        raise RuntimeError(f"{name}: expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft, but got win_length={length}")
    return hop, length


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The Fourier transforms of windows of `n_fft` samples, `hop_length` (n_fft // 4) apart: (..., frequency, frame).

    input: (samples) or (batch, samples). `center` pads half a window at both ends, so that frame t is about sample
    t * hop_length. A real signal gives n_fft // 2 + 1 frequencies unless `onesided` is False. RuntimeError for a real
    signal without `return_complex`.

    >>> ingot.stft(ingot.ones(8), 4, window=ingot.ones(4), return_complex=True).shape
    ingot.Size([3, 9])
    """
    if not (input.dtype.is_floating_point or input.dtype.is_complex):
        raise RuntimeError(f"stft: expected a tensor of floating point or complex values, given {input.dtype.name}")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a 1D or 2D tensor, given one of shape {list(input.shape)}")
    is_complex = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not is_complex:
            raise RuntimeError("stft requires the return_complex parameter be given for real inputs")
        return_complex = True
    hop, length = _lengths("stft", n_fft, hop_length, win_length)
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    signal = input if input.ndim == 2 else _call("unsqueeze", input, 0)
    if center:
        half = n_fft // 2
        padded = _call("unsqueeze", signal, 1)
        signal = _call("squeeze", _call("pad", padded, (half, half), pad_mode), 1)
    extent = int(signal.shape[1])
    if not 0 < n_fft <= extent:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {extent}, but got n_fft={n_fft}")
    real = input.real.dtype if input.dtype.is_complex else input.dtype  # type: ignore[attr-defined]
    if window is None and length == n_fft:
        weights = None
    else:
        weights = _window("stft", window, length, n_fft, real)
    frames = _call("unfold", signal, 1, n_fft, hop)
    if weights is not None:
        frames = _call("mul", frames, weights)
    onesided = not is_complex if onesided is None else onesided
    if is_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    norm = "ortho" if normalized else "backward"
    spectrum = _call("rfftn" if onesided else "fftn", frames, s=(n_fft,), dim=(2,), norm=norm)
    result = _call("transpose", spectrum, 1, 2)
    if input.ndim == 1:
        result = _call("squeeze", result, 0)
    return result if return_complex else _call("view_as_real", result)  # type: ignore[no-any-return]


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal of which `stft` with the same arguments gives this spectrum, of `length` samples where given.

    Overlapping windows are added and divided by the sum of the squared windows; RuntimeError where that is 0.

    >>> x = ingot.arange(8.)
    >>> spectrum = ingot.stft(x, 4, window=ingot.ones(4), return_complex=True)
    >>> ingot.istft(spectrum, 4, window=ingot.ones(4)).round()
    tensor([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    if not input.dtype.is_complex:
        raise RuntimeError("istft requires a complex-valued input tensor matching the output from stft")
    if not input.shape.numel():
        raise RuntimeError("istft: input tensor cannot be empty")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"istft: expected a tensor with 2 or 3 dimensions, given {input.ndim}")
    hop, win = _lengths("istft", n_fft, hop_length, win_length)
    spectrum = input if input.ndim == 3 else _call("unsqueeze", input, 0)
    bins, frames = int(spectrum.shape[1]), int(spectrum.shape[2])
    onesided = (bins != n_fft) if onesided is None else onesided
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if bins != wanted:
        raise RuntimeError(
            f"istft: expected the frequency dimension (3rd to the last) of the input tensor to match n_fft "
            f"{'/ 2 + 1 ' if onesided else ''}when onesided={onesided}, but got {bins}"
        )
    if not return_complex and window is not None and window.dtype.is_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if return_complex and onesided:
        raise RuntimeError("istft: cannot have onesided input with return_complex=True")
    real = input.real.dtype  # type: ignore[attr-defined]
    weights = _window("istft", window, win, n_fft, real)
    norm = "ortho" if normalized else "backward"
    turned = _call("transpose", spectrum, 1, 2)
    if return_complex:
        pieces = _call("ifftn", turned, s=(n_fft,), dim=(2,), norm=norm)
    else:
        if not onesided:
            turned = _call("slice", turned, 0, n_fft // 2 + 1, dim=2)
        pieces = _call("irfftn", turned, s=(n_fft,), dim=(2,), norm=norm)
    pieces = _call("mul", pieces, weights)
    extent = n_fft + hop * (frames - 1)
    signal = _overlap(pieces, hop, extent)
    squares = _call("expand", _call("mul", weights, weights), 1, frames, n_fft)
    envelope = _overlap(squares, hop, extent)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else (extent - n_fft // 2 if center else extent)
    signal = _call("slice", signal, start, min(end, extent), dim=1)
    envelope = _call("slice", envelope, start, min(end, extent), dim=1)
    if envelope.shape.numel() and float(_call("amin", _call("abs", envelope.detach())).item()) < 1e-11:
        raise RuntimeError("istft: window overlap add min: 1; the window is 0 where samples have to come from")
    signal = _call("div", signal, envelope)
    if end > extent:
        if length is not None:
            warnings.warn(
                "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
                "tail. Please check your center and hop_length settings.",
                stacklevel=3,
            )
        signal = _call("pad", signal, (0, end - max(start, extent)))
    return _call("squeeze", signal, 0) if input.ndim == 2 else signal  # type: ignore[no-any-return]


@beside
def _overlap(pieces: Any, hop: int, extent: int) -> Any:
    """The sum of pieces (batch, frame, sample) laid `hop` apart."""
    batch, frames, length = (int(n) for n in pieces.shape)
    starts = _call("mul", _call("arange", 0, frames, 1), hop)
    places = _call("add", _call("unsqueeze", starts, 1), _call("arange", 0, length, 1))
    flat = _call("reshape", pieces, batch, frames * length)
    zeros = _call("full", (batch, extent), 0, dtype=pieces.dtype)
    return _call("index_add", zeros, 1, _call("reshape", places, frames * length), flat)


for _name in FUNCTIONS:
    globals()[_name] = with_out(globals()[_name])
