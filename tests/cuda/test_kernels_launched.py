"""What is handed to a GPU's driver: PTX files, arguments, threads, captured graphs; with a cupy that only notes it."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import ingot
import numpy as np
import pytest
from device_cases import optimised
from ingot.eager.device import as_device, move_array
from ingot.jit.codegen.cuda.device_text import DeviceTarget
from ingot.jit.codegen.cuda.programs import device_program
from ingot.jit.runtime.cuda_launch import CupyLauncher, threads_of
from strict_cupy import StrictCupy


def launcher() -> tuple[StrictCupy, CupyLauncher]:
    cupy = StrictCupy()
    return cupy, CupyLauncher(cupy, lambda kernel, architecture: f"// {kernel.name} for {architecture}")


CHAIN = "graph @f(%x: f32[n]) -> (f32[n]) { %a: f32[n] = exp(%x) %b: f32[n] = add(%a, %x) return(%b) }"
SOFTMAX = "graph @f(%x: f32[m, n]) -> (f32[m, n]) { %a: f32[m, n] = softmax(%x) {dim=-1} return(%a) }"
SCATTER = (
    "graph @f(%x: f32[m, n], %i: i64[k, n], %s: f32[k, n]) -> (f32[m, n]) { "
    "%a: f32[m, n] = scatter_add(%x, %i, %s) {dim=0} return(%a) }"
)


def run(text: str, *arguments: Any) -> StrictCupy:
    cupy, launch = launcher()
    with ingot.cuda.simulate():
        place = as_device("cuda")
        program = device_program(optimised(text), place, launcher=launch, target=DeviceTarget())
        program([move_array(a, place) for a in arguments])
    return cupy


def test_a_kernel_is_loaded_once_and_gets_addresses_and_numbers() -> None:
    x = np.zeros(1001, np.float32)
    cupy = run(CHAIN, x)
    ((name, grid, block, args, shared),) = cupy.launches
    assert (grid, block, shared) == ((4,), (256, 1), 0)
    assert [type(a) for a in args] == [np.int64] * 3 and args[0] == 1001 and args[1] % 512 == 0
    assert cupy.files == [f"// {name} for (9, 0)"]


def test_aligned_memory_takes_a_quarter_of_the_threads() -> None:
    ((name, grid, *_),) = run(CHAIN, np.zeros(4096, np.float32)).launches
    assert "_wide_" in name and grid == (4,)


@pytest.mark.parametrize(
    ("shape", "grid", "block", "shared"),
    [
        ((100, 64), (13,), (32, 8), 64 * 4 * 8),  # a warp for each row
        ((100, 4096), (100,), (256, 1), 4096 * 4),  # a block for each row, which is kept
        ((100, 50_000), (100,), (256, 1), 0),  # rows too long to be kept
    ],
)
def test_rows_get_warps_or_blocks_and_shared_memory(shape: Any, grid: Any, block: Any, shared: int) -> None:
    ((_, *found, args, given),) = run(SOFTMAX, np.zeros(shape, np.float32)).launches
    assert found == [grid, block] and given == shared and len(args) == 4


def test_flat_arrays_are_passed_as_numba_passes_them() -> None:
    cupy = run(SCATTER, np.zeros((3, 4), np.float32), np.zeros((2, 4), np.int64), np.zeros((2, 4), np.float32))
    args = cupy.launches[0][3]
    (first,) = [i for i in range(len(args) - 6) if args[i] == args[i + 1] == 0 and args[i + 2] == args[i + 5] == 12]
    assert args[first + 3] == args[first + 6] == 4 and args[first + 4] % 512 == 0


def test_nothing_is_launched_for_no_elements() -> None:
    assert not run(CHAIN, np.zeros(0, np.float32)).launches


def test_a_driver_that_is_older_than_nvvm_is_said_to_be() -> None:
    cupy = StrictCupy()

    def refuse(path: str) -> Any:
        raise OSError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")

    cupy.RawModule = refuse
    launch = CupyLauncher(cupy, lambda kernel, architecture: "// made by NVVM\n.version 9.0\n")
    with pytest.raises(RuntimeError, match=r"PTX 9\.0, which an older driver.*update the driver"):
        launch.function(SimpleNamespace(name="k"))


def test_threads_of_a_launch() -> None:
    assert threads_of("elements", 10**9, 1, (1, 1), 256, 32, 2112) == ((2112,), (256, 1), 1)
    assert threads_of("blocks", 7, 1, (16, 16), 256, 32, 2112) == ((7,), (16, 16), 1)
    assert threads_of("rows", 3, 256, (1, 1), 256, 32, 2112) == ((1,), (32, 8), 8)
    assert threads_of("rows", 3, 257, (1, 1), 256, 32, 2112) == ((3,), (256, 1), 1)


PROGRAM = """
import ingot
from ingot import jit
function = jit.trace(lambda x: ingot.softmax(x * 2, dim=-1), (ingot.ones(2, 5).cuda(),))
x = ingot.randn(3, 5)
assert (function(x.cuda()).cpu() - ingot.softmax(x * 2, dim=-1)).abs().max() < 1e-6
from ingot.jit.codegen.cuda import frontend
assert frontend.is_simulator() and "simulator" in frontend.nvvm_problem()
print("ran", function(x.cuda()).device)
"""


def test_the_environment_chooses_the_simulator() -> None:
    environment = {**os.environ, "INGOT_CUDA": "simulator", "NUMBA_ENABLE_CUDASIM": "1"}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert ran.stdout == "ran cuda:0\n", ran.stderr
