"""Calls that are captured as CUDA graphs: when, under which rules, and what a replay does; nothing runs on a GPU."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from device_cases import optimised
from ingot.cuda import simulate
from ingot.eager.device import as_device, move_array
from ingot.jit import device_program as programs
from ingot.jit.codegen.cuda.device_text import DeviceTarget
from ingot.jit.codegen.cuda.programs import device_program
from ingot.jit.device_program import DeviceProgram
from ingot.jit.runtime.cuda_graphs import pays_off
from ingot.jit.runtime.cuda_launch import CupyLauncher
from strict_cupy import StrictCupy

CHAIN = "graph @f(%x: f32[n]) -> (f32[n]) { %a: f32[n] = exp(%x) %b: f32[n] = add(%a, %x) return(%b) }"
# A product by cuBLAS and what follows it, a reduction, and a size as a number.
LAYERS = (
    "graph @f(%x: f32[m, 512], %w: f32[600, 512], %b: f32[600]) -> (f32[m]) { "
    "%a: f32[m, 600] = linear(%x, %w, %b) %r: f32[m, 600] = relu(%a) %s: f32[m] = sum(%r) {dim=(1,)} return(%s) }"
)

ADDED = "graph @f(%x: f32[1], %w: f32[n]) -> (f32[n]) { %b: f32[n] = add(%w, %x) return(%b) }"


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with simulate():
        yield


def made(text: str, parameters: tuple[str, ...] = ()) -> tuple[StrictCupy, DeviceProgram]:
    cupy = StrictCupy()
    graph = optimised(text)
    graph.parameters = parameters  # the last arguments
    launcher = CupyLauncher(cupy, lambda kernel, architecture: f"// {kernel.name}")
    return cupy, device_program(graph, as_device("cuda"), launcher=launcher, target=DeviceTarget())


def array(*shape: int) -> Any:
    return move_array(np.zeros(shape, np.float32), as_device("cuda"))


def graphs(cupy: StrictCupy) -> int:
    return sum(event.startswith("graph") for event in cupy.events)


def test_the_second_call_of_sizes_is_captured_and_later_ones_are_one_launch() -> None:
    cupy, program = made(LAYERS)
    given = [array(9, 512), array(600, 512), array(600)]
    with cupy.watching():
        program(given)
        assert not cupy.events and len(cupy.launches) == 2
        program(given)  # runs once more, then is captured and replayed
        assert cupy.events == ["capture", "graph on default"] and len(cupy.launches) == 2 + 2 + 2
        loaded = len(cupy.files)
        (result,) = program([array(9, 512), *given[1:]])
    assert result.shape == (9,) and cupy.events[2:] == ["graph on default"] and len(cupy.files) == loaded
    assert not program.recording_failure


def test_replays_read_their_own_copy_of_inputs_and_give_memory_of_its_own() -> None:
    cupy, program = made(CHAIN)
    results = [program([array(9)])[0] for _ in range(4)]
    assert len({r.data.ptr for r in results}) == 4
    assert len({int(args[1]) for _, _, _, args, _ in cupy.launches[2:]}) == 1


def test_other_sizes_are_captured_for_themselves_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_REPLAYS", 2)
    cupy, program = made(CHAIN)
    for n in (3, 4, 5, 3, 4, 5, 3, 4, 5):
        assert program([array(n)])[0].shape == (n,)
    assert cupy.events.count("capture") == 2 and graphs(cupy) == 4


def test_large_inputs_are_not_copied_to_save_a_launch() -> None:
    cupy, program = made(CHAIN)
    for _ in range(3):
        program([array(1 << 20)])
    assert not cupy.events and len(cupy.launches) == 3
    program([array(1 << 20)])
    assert not cupy.events and len(cupy.launches) == 4
    assert pays_off(2, [array(1 << 20)]) and not pays_off(1, [array(1 << 20)])


def test_prepared_calls_launch_the_same_on_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "pays_off", lambda launches, arrays: False)
    # Three kernels, with memory between the first two.
    cupy, program = made(
        "graph @f(%x: f32[n]) -> (f32[], f32[n]) { %s: f32[] = sum(%x) %y: f32[n] = mul(%x, %s) return(%s, %y) }"
    )
    walked = []
    plan = DeviceProgram.plan
    monkeypatch.setattr(DeviceProgram, "plan", lambda self, block: walked.append(block) or plan(self, block))
    calls = []
    for number in range(4):
        x = array(20_000)
        before = len(cupy.launches)
        walked.clear()
        results = program([x])
        assert bool(walked) is (number < 2)
        calls.append((x, results, cupy.launches[before:]))
    shapes = [[(name, grid, block, shared) for name, grid, block, _, shared in launches] for *_, launches in calls]
    assert shapes[0] == shapes[1] == shapes[2] == shapes[3] and len(shapes[0]) == 3
    for x, (total, product), launches in calls:
        assert total.shape == () and product.shape == (20_000,)
        places = [{int(a) for a in args if int(a) > 1 << 40} for _, _, _, args, _ in launches]
        assert x.data.ptr in places[0] & places[2] and {total.data.ptr, product.data.ptr} <= places[1] | places[2]
        (between,) = places[0] & places[1]
        assert between not in (x.data.ptr, total.data.ptr, product.data.ptr)
    assert len({r.data.ptr for _, results, _ in calls for r in results}) == 8
    unaligned = array(20_001)[1:]
    walked.clear()
    program([unaligned])
    assert walked


def test_large_results_are_not_copied_either() -> None:
    cupy, program = made(ADDED, ("w",))
    weight = array(3_000_000)
    for _ in range(3):
        program([array(1), weight])
    assert cupy.events == ["capture"]  # which showed how large they are


@pytest.mark.parametrize("reason", ["refused", "synchronous"])
def test_what_cannot_be_captured_runs_as_before_and_says_why(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy, program = made(CHAIN)
    if reason == "refused":
        cupy.refuses = True
    else:  # a copy to the host in the middle
        launched = DeviceProgram._launched
        monkeypatch.setattr(
            DeviceProgram, "_launched", lambda self, given: [given[0].get() is None, *launched(self, given)][1:]
        )
    for _ in range(3):
        assert program([array(9)])[0].shape == (9,)
    assert "Invalidated" in program.recording_failure and graphs(cupy) == 0 and cupy.events == ["capture"]
    assert cupy.capturing is None and len(cupy.streams) == 1 and not cupy.pools


def test_what_is_raised_while_capturing_is_not_hidden_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy, program = made(CHAIN)
    launched, calls = DeviceProgram._launched, []

    def fail(self: DeviceProgram, given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            cupy.refuses = True
            raise MemoryError("no memory for the graph")
        return launched(self, given)

    monkeypatch.setattr(DeviceProgram, "_launched", fail)
    for _ in range(3):
        program([array(9)])
    assert program.recording_failure == "MemoryError: no memory for the graph"


def test_replays_on_another_stream_wait_for_the_one_before() -> None:
    cupy, program = made(CHAIN)
    x = array(9)
    for _ in range(2):
        program([x])
    with cupy.cuda.Stream(name="other"):
        program([x])
        program([x])
    program([x])
    assert cupy.events[1:] == [
        "graph on default", "other waits for end of default", "graph on other", "graph on other",
        "default waits for end of other", "graph on default",
    ]  # fmt: skip


def test_parameters_that_moved_are_captured_anew() -> None:
    cupy, program = made(ADDED, ("w",))
    x, weights = array(1), [array(9), array(9)]
    for weight in (weights[0], weights[0], weights[0], weights[1], weights[1]):
        program([x, weight])
    assert cupy.events.count("capture") == 2 and graphs(cupy) == 4
    assert len(program._replays) == 1


def test_threads_take_turns() -> None:
    cupy, program = made(CHAIN)
    for _ in range(2):
        program([array(9)])
    before, failures = len(cupy.launches), []

    def work() -> None:
        try:
            for _ in range(20):
                assert program([array(9)])[0].shape == (9,)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(cupy.launches) - before == 60 and graphs(cupy) == 61
