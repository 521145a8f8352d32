"""The candidates of a workload: Ingot, and each peer that is installed, with the same weights and inputs.

A candidate is made cold: what it takes to compile and answer for the first time is measured, with an empty cache.
"""

import io
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ingot
import numpy as np
from ingot import jit

from .models import function
from .workloads import Workload

__all__ = ["PEERS", "Candidate", "candidates", "warm_up"]


@dataclass
class Candidate:
    """Something that computes a workload: `run()` makes the result, `array` makes it a numpy array."""

    run: Callable[[], Any]
    array: Callable[[Any], Any]
    compile_seconds: float | None = None
    note: str = ""


@contextmanager
def _empty_cache(variable: str) -> Iterator[None]:
    folder = tempfile.mkdtemp()
    before = os.environ.get(variable)
    os.environ[variable] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """TimeoutError after so many seconds, where there are timers (and as soon as Python runs again)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError(f"not ready after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _quiet_output() -> Iterator[None]:
    """Drop what is written to the standard output, also by native code."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _first(candidate: Candidate, start: float) -> Candidate:
    candidate.array(candidate.run())
    candidate.compile_seconds = time.perf_counter() - start
    return candidate


def with_ingot(workload: Workload, threads: int) -> Candidate:
    """Traced and frozen, or scripted where it loops; a fallback to the interpreter is an error."""
    model = workload.make(ingot).eval()
    arguments = tuple(ingot.from_numpy(a) for a in workload.inputs())
    with _empty_cache("INGOT_CACHE_DIR"), ingot.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", jit.FallbackWarning)
        start = time.perf_counter()
        compiled = jit.script(model) if workload.loop else jit.trace(model, arguments, check_trace=False)
        compiled = jit.freeze(compiled) if any(True for _ in model.parameters()) else compiled
        return _first(Candidate(lambda: compiled(*arguments), lambda r: r.numpy()), start)


def _torch_model(workload: Workload) -> tuple[Any, tuple[Any, ...]]:
    import torch

    model = workload.make(torch).eval()
    state = workload.make(ingot).state_dict()
    model.load_state_dict({k: torch.from_numpy(np.array(v.numpy())) for k, v in state.items()})
    return model.requires_grad_(False), tuple(torch.from_numpy(a) for a in workload.inputs())


def with_torch(workload: Workload, threads: int) -> Candidate:
    """Eager."""
    model, arguments = _torch_model(workload)
    return Candidate(lambda: model(*arguments), lambda r: r.numpy())


def with_torchscript(workload: Workload, threads: int) -> Candidate:
    """Traced, frozen and optimised for inference; scripted where it loops."""
    import torch

    model, arguments = _torch_model(workload)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.script(model) if workload.loop else torch.jit.trace(model, arguments, check_trace=False)
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))
        for _ in range(3):  # its profiling executor optimises at the second and third call
            frozen(*arguments)
    return _first(Candidate(lambda: frozen(*arguments), lambda r: r.numpy()), start)


def with_inductor(workload: Workload, threads: int) -> Candidate:
    """`torch.compile`, which needs a C++ compiler."""
    import torch

    if shutil.which("c++") is None and shutil.which("g++") is None:
        raise LookupError("no C++ compiler")
    model, arguments = _torch_model(workload)
    torch._dynamo.reset()
    with _empty_cache("TORCHINDUCTOR_CACHE_DIR"):
        start = time.perf_counter()
        compiled = torch.compile(model)
        return _first(Candidate(lambda: compiled(*arguments), lambda r: r.numpy()), start)


def with_onnxruntime(workload: Workload, threads: int) -> Candidate:
    """PyTorch's own export."""
    import onnxruntime
    import torch

    model, arguments = _torch_model(workload)
    buffer = io.BytesIO()
    if workload.loop:
        raise LookupError("PyTorch's export of the loop is unrolled")
    # The exporter prints the graph when it fails, from C++; the reason is in the exception.
    with warnings.catch_warnings(), _quiet_output():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, arguments, buffer, dynamo=False, opset_version=17, do_constant_folding=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads wait busily after a run, on cores that the next candidate needs; within a run they still do.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {i.name: a for i, a in zip(session.get_inputs(), workload.inputs(), strict=False)}
    return _first(Candidate(lambda: session.run(None, feed)[0], lambda r: r), start)


def with_jax(workload: Workload, threads: int) -> Candidate:
    """`jax.jit` of the exported graph, or a scan."""
    import jax

    from . import jax_peer

    model, arguments = _torch_model(workload)
    function = jax_peer.scan(workload.loop, model) if workload.loop else jax_peer.program(model, arguments)
    inputs = tuple(jax.device_put(a) for a in workload.inputs())
    start = time.perf_counter()
    compiled = jax.jit(function)
    return _first(Candidate(lambda: compiled(*inputs).block_until_ready(), np.asarray), start)


PEERS: dict[str, Callable[[Workload, int], Candidate]] = {
    "torch": with_torch,
    "torchscript": with_torchscript,
    "inductor": with_inductor,
    "onnxruntime": with_onnxruntime,
    "jax": with_jax,
}


def candidates(workload: Workload, threads: int, peers: list[str], limit: float = 120.0) -> dict[str, Candidate]:
    """Ingot and the peers that can run the workload, each made in at most `limit` seconds; a note says what failed."""
    made: dict[str, Candidate] = {}
    for name in ["ingot", *peers]:
        ingot.manual_seed(0)
        make = with_ingot if name == "ingot" else PEERS[name]
        try:
            with _time_limit(limit):
                made[name] = make(workload, threads)
        except Exception as error:
            if name == "ingot":
                raise
            made[name] = Candidate(lambda: None, lambda r: r, note=f"{type(error).__name__}: {error}")
    return made


def warm_up(threads: int, peers: list[str]) -> None:
    """Compile something small with everyone: what compilers import and probe at first use is no workload's time."""
    small = Workload("", function(lambda lib, x: x + 1), lambda: (np.ones(3, np.float32),))
    candidates(small, threads, peers)
