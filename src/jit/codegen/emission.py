"""From LLVM IR to object files, several at a time: the only module that touches private parts of llvmlite.

llvmlite lets one thread at a time into LLVM. The two calls that take long (the passes, and machine code) need no such
lock, because each emission has a context of its own, which is LLVM's own rule for threads ("LLVM Programmer's Manual",
on threads and the LLVM API). Outside that lock, and outside Python's, they run while the next kernel is written.
Where llvmlite keeps its functions elsewhere, they are called with the lock: slower, and otherwise the same.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import CompileError
from ..runtime.cpus import available_cpus
from ..runtime.targets import llvm
from .module import PLAIN

if TYPE_CHECKING:
    from .compile import CpuTarget

__all__ = ["emit", "emitters", "without_lock"]


# The passes of the level `PLAIN`: a sixth of the time of LLVM's second level, whose loop transformations would find
# nothing.
_PLAIN_PASSES = (
    "always_inliner",
    "sroa",
    "simplify_cfg",
    "instruction_combine",
    "simplify_cfg",
    "new_gvn",
    "jump_threading",
    "simplify_cfg",
    "loop_simplify",
    "lcssa",
    "loop_rotate",
    "instruction_combine",
    "simplify_cfg",
    "dead_store_elimination",
    "aggressive_dce",
    "global_dead_code_eliminate",
)


_turns = threading.Lock()
_compiling = 0
_usual_interval = 0.0
# Seconds after which Python lets another thread go on. An emission is some dozens of short calls around two long ones,
# and after each it would wait for Python's own 5 ms while another thread types the next kernel.
_INTERVAL = 1e-4


@contextmanager
def emitters() -> Iterator[ThreadPoolExecutor]:
    """Threads that emit objects: one for each CPU that this process may use."""
    global _compiling, _usual_interval
    with _turns:
        if _compiling == 0:
            _usual_interval = sys.getswitchinterval()
            sys.setswitchinterval(min(_INTERVAL, _usual_interval))
        _compiling += 1
    try:
        with ThreadPoolExecutor(max_workers=available_cpus(), thread_name_prefix="ingot-emit") as threads:
            yield threads
    finally:
        with _turns:
            _compiling -= 1
            if _compiling == 0:
                sys.setswitchinterval(_usual_interval)


def without_lock(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of LLVM's C interface without llvmlite's lock around it, or as it is where it has another form."""
    plain: Callable[..., Any] = getattr(function, "_cfn", function)
    return plain


def emit(modules: Sequence[str], target: "CpuTarget", keep: Sequence[str], level: int = 2) -> bytes:
    """An object file from the text of LLVM modules: linked, optimised at a level, and only `keep` visible."""
    binding = llvm()
    features = f"{target.features},+64bit".lstrip(",") if target.triple.startswith("x86_64") else target.features
    if target.cpu.startswith("znver"):
        # Single loads are faster than these CPUs' gathers: embeddings of rows of 5 in half the time, sines of a column
        # in two thirds.
        features += ",+prefer-no-gather"
    # Position-independent, and reached relative to the instruction: LLVM's loader adds stubs for what is far.
    machine = binding.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=features, opt=3, reloc="pic", codemodel="small"
    )
    # A context of its own is freed as a whole, and names of other compilations cannot leak in.
    context = binding.create_context()
    try:
        module = _parse(modules[0], target, machine, context)
        try:
            for other in modules[1:]:
                module.link_in(_parse(other, target, machine, context))
            for value in (*module.functions, *module.global_variables):
                if not value.is_declaration and not value.name.startswith("llvm."):
                    value.linkage = "external" if value.name in keep else "internal"
            module.verify()
            options = binding.create_pipeline_tuning_options(speed_level=level)
            options.loop_vectorization = options.slp_vectorization = True
            builder = binding.create_pass_builder(machine, options)
            if level == PLAIN:
                passes = binding.create_new_module_pass_manager()
                for name in _PLAIN_PASSES:
                    getattr(passes, f"add_{name}_pass")()
            else:
                passes = builder.getModulePassManager()
            without_lock(binding.ffi.lib.LLVMPY_RunNewModulePassManager)(passes, module, builder)
            # Declarations that nothing uses would otherwise appear in the object's symbol table.
            manager = binding.create_new_module_pass_manager()
            manager.add_strip_dead_prototype_pass()
            manager.run(module, builder)
            return _machine_code(binding, machine, module)
        finally:
            module.close()
    finally:
        context.close()


def _machine_code(binding: Any, machine: Any, module: Any) -> bytes:
    """What `machine.emit_object(module)` gives."""
    library = binding.ffi.lib
    with binding.ffi.OutputString() as error:
        buffer = without_lock(library.LLVMPY_TargetMachineEmitToMemory)(machine, module, 1, error)
        if not buffer:
            raise CompileError(f"LLVM emits no machine code: {error}")
    try:
        return ctypes.string_at(library.LLVMPY_GetBufferStart(buffer), library.LLVMPY_GetBufferSize(buffer))
    finally:
        library.LLVMPY_DisposeMemoryBuffer(buffer)


def _parse(text: str, target: "CpuTarget", machine: Any, context: Any) -> Any:
    module = llvm().parse_assembly(text, context)
    if "llvm.ldexp" in text and not _scales(target):
        # As LLVM writes it.
        text = without_scaling(str(module))
        module.close()
        module = llvm().parse_assembly(text, context)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return module


def _scales(target: "CpuTarget") -> bool:
    """Whether the CPU multiplies vectors by powers of two in one instruction."""
    return "+avx512f" in target.features.split(",") or target.cpu == "x86-64-v4"


# value * 2^exponent in two steps, of which only the last one rounds: half of the exponent is a normal number's.
_SCALED = """
define internal float @ingot.scaled.f32(float %value, i32 %exponent) alwaysinline {
  %half = ashr i32 %exponent, 1
  %rest = sub i32 %exponent, %half
  %half_biased = add i32 %half, 127
  %rest_biased = add i32 %rest, 127
  %half_bits = shl i32 %half_biased, 23
  %rest_bits = shl i32 %rest_biased, 23
  %half_scale = bitcast i32 %half_bits to float
  %rest_scale = bitcast i32 %rest_bits to float
  %step = fmul float %value, %half_scale
  %result = fmul float %step, %rest_scale
  ret float %result
}
"""


def without_scaling(text: str) -> str:
    """LLVM IR with the intrinsic `ldexp`, which most CPUs leave to a call of the C library, written out."""
    lines = [line for line in text.splitlines() if not line.startswith("declare float @llvm.ldexp.f32.i32(")]
    return "\n".join(lines).replace("@llvm.ldexp.f32.i32(", "@ingot.scaled.f32(") + _SCALED
