"""Ops that the array module computes on a device, or nothing has to compute, and why they have no kernel."""

from ....ir.ops._op import Op, Trait, View

__all__ = ["ARRAY_MODULE", "HOST", "VIEWS", "is_view", "reason"]

VIEWS = "the result is the operand's memory seen in another shape or dtype: nothing is computed"
HOST = "a number of the host's: one is read from the device, or the random stream is advanced"
# By reason; cupy's functions are meant where no library is named.
ARRAY_MODULE: dict[str, tuple[str, ...]] = {
    "cuSOLVER and cuBLAS factorise, and solve triangular systems; what is made of these costs less": (
        "cholesky", "cofactor_matrix", "det", "eig", "eigh", "eigvals", "eigvalsh", "geqrf", "inv", "matrix_exp",
        "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals",
    ),
    "neither cupy nor a kernel has it: computed on the CPU, with a warning": (
        "ldl_factor_ex", "ldl_solve", "lu_factor_ex", "lu_permutation",
    ),
    "cuFFT transforms": ("fftn", "ifftn", "irfftn", "rfftn"),
    "CUB's radix sort passes over 32-bit keys four times, at about the speed of memory; the bitonic sort that kernels "
    "could do without its exchanges between blocks passes log(n)**2 / 2 times": (
        "argsort", "isin", "mode", "sort", "topk",
    ),
    "the size of the result depends on the data, and has to reach the host before there is memory for it": (
        "bincount", "nonzero", "unique",
    ),
    "its range depends on the data, and is checked on the host": ("histc",),
    "draws are corrected until each fits, which the host has to find out": ("poisson",),
    "complex numbers, which kernels do not have: cupy computes them op by op, as it does all ops of complex tensors": (
        "complex", "conj", "imag", "polar", "real",
    ),
}  # fmt: skip
_REASONS = {name: why for why, names in ARRAY_MODULE.items() for name in names}


def is_view(op: Op) -> bool:
    """Whether an op gives its operand's memory: on devices arrays are contiguous, so that these never copy."""
    reshapes = isinstance(op.lower, View) and op.lower.reinterpret
    return reshapes or op.name in ("bitcast", "detach") or (Trait.VIEW in op.traits and op.name.startswith("view_as_"))


def reason(op: Op) -> str:
    """Why an op has no kernel; empty where it has one, or should."""
    if op.name in _REASONS:
        return _REASONS[op.name]
    if is_view(op):
        return VIEWS
    return HOST if op.name in ("item", "take_random") else ""
