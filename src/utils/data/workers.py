"""Worker processes of a loader: started fresh, fed with indices, watched, and stopped."""

import multiprocessing
import os
import queue
import random
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...ir.random_state import default_generator

__all__ = ["WorkerInfo", "WorkerPool", "get_worker_info"]

_POLL_SECONDS = 0.5
_PARENT_SECONDS = 5.0


@dataclass
class WorkerInfo:
    """Which worker this process is: its number, how many there are, its seed, and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """What a worker process of a DataLoader knows of itself; None in any other process."""
    return _info


@dataclass
class _Failure:
    """An exception in a worker, as text: not every exception can be pickled."""

    kind: type[BaseException] | None
    name: str
    text: str
    worker: int

    def error(self) -> BaseException:
        """An exception of the same type, where it takes one string, with the worker's traceback as its message."""
        message = f"Caught {self.name} in DataLoader worker process {self.worker}.\n{self.text}"
        try:
            if self.kind is not None:
                return self.kind(message)
        except Exception:
            pass
        return RuntimeError(message)


def _failure(error: BaseException, worker: int) -> _Failure:
    kind = type(error) if type(error).__module__ == "builtins" else None
    return _Failure(kind, type(error).__name__, traceback.format_exc(), worker)


def _work(made: Any, dataset: Any, info: tuple[int, int, int], init: Any, tasks: Any, results: Any) -> None:
    """What a worker process runs: answers (task, value) for each (task, indices), or (task, _Failure)."""
    global _info
    number, count, seed = info
    parent = os.getppid()
    _info = WorkerInfo(number, count, seed + number, dataset)
    # Streams of their own, that do not depend on which worker gets which batch earlier.
    default_generator.manual_seed(seed + number)
    random.seed(seed + number)
    np.random.seed((seed + number) % (1 << 32))
    broken = None
    try:
        if init is not None:
            init(number)
    except BaseException as error:
        broken = _failure(error, number)
    stream: Iterator[Any] | None = None
    current = 0
    while True:
        try:
            task = tasks.get(timeout=_PARENT_SECONDS)
        except queue.Empty:
            if os.getppid() != parent:  # the loader's process is gone
                return
            continue
        if task is None:
            return
        key, indices = task
        if key[0] != current:  # another iteration has begun, perhaps before the last one ended
            current, stream = key[0], None
        try:
            if broken is not None:
                results.put((key, broken, number))
            elif isinstance(made, tuple):
                function, *arguments = made
                if stream is None:
                    stream = function(*arguments)
                try:
                    results.put((key, next(stream), number))
                except StopIteration:
                    stream = None
                    results.put((key, StopIteration, number))
            else:
                results.put((key, made(indices), number))
        except BaseException as error:
            results.put((key, _failure(error, number), number))


class WorkerPool:
    """The processes, one queue of tasks each and one of results."""

    def __init__(
        self,
        made: Any,
        dataset: Any,
        count: int,
        init: Callable[[int], None] | None,
        timeout: float,
        context: Any,
        seed: int,
    ) -> None:
        # A fork would copy locks that threads of the pool may hold; a fresh process has none.
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context or "spawn")
        self._results = context.Queue()
        self._tasks = [context.Queue() for _ in range(count)]
        self._timeout = timeout
        self._round = 0
        self.closed = False
        self._processes = []
        for number, tasks in enumerate(self._tasks):
            info = (number, count, seed)
            process = context.Process(target=_work, args=(made, dataset, info, init, tasks, self._results), daemon=True)
            try:
                process.start()
            except Exception as error:
                self.close()
                raise RuntimeError(
                    f"DataLoader: worker {number} could not be started: {error}. The dataset, collate_fn and "
                    f"worker_init_fn must be picklable (at the top of a module, no lambdas); or use num_workers=0"
                ) from error
            self._processes.append(process)

    def ordered(self, order: Iterable[Any], ahead: int) -> Iterator[Any]:
        """The batches for these lists of indices in their order, with some made ahead."""
        self._round += 1
        waiting: dict[int, Any] = {}
        sent = 0
        source = iter(order)
        ended = False
        yielded = 0
        while True:
            while not ended and sent - yielded < ahead:
                try:
                    indices = next(source)
                except StopIteration:
                    ended = True
                    break
                self._tasks[sent % len(self._tasks)].put(((self._round, sent), indices))
                sent += 1
            if ended and yielded == sent:
                return
            while yielded not in waiting:
                key, value, _ = self._next()
                if key[0] == self._round:
                    waiting[key[1]] = value
            value = waiting.pop(yielded)
            yielded += 1
            if isinstance(value, _Failure):
                raise value.error()
            yield value

    def streams(self, ahead: int) -> Iterator[Any]:
        """The batches of the workers' streams, in turn, until all have ended."""
        self._round += 1
        active = list(range(len(self._tasks)))
        each = max(1, ahead // len(active))
        waiting: dict[tuple[int, int], Any] = {}
        asked = dict.fromkeys(active, 0)
        taken = dict.fromkeys(active, 0)
        while active:
            for worker in active:
                while asked[worker] - taken[worker] < each:
                    self._tasks[worker].put(((self._round, (worker, asked[worker])), None))
                    asked[worker] += 1
            worker = active.pop(0)
            wanted = (worker, taken[worker])
            while wanted not in waiting:
                key, value, _ = self._next()
                if key[0] == self._round:
                    waiting[key[1]] = value
            value = waiting.pop(wanted)
            taken[worker] += 1
            if isinstance(value, _Failure):
                raise value.error()
            if value is not StopIteration:
                active.append(worker)
                yield value

    def _next(self) -> Any:
        """The next result; RuntimeError where a worker has died, or none came in time."""
        begin = time.monotonic()
        while True:
            try:
                return self._results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                pass
            for number, process in enumerate(self._processes):
                if not process.is_alive():
                    try:
                        return self._results.get(timeout=_POLL_SECONDS)  # what it still said
                    except queue.Empty:
                        pass
                    code = process.exitcode
                    self.close()
                    how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
                    raise RuntimeError(
                        f"DataLoader worker {number} (pid {process.pid}) exited unexpectedly {how}. If it was killed, "
                        f"there may have been too little memory; if it never began, the program must be a file whose "
                        f"own work stands under `if __name__ == '__main__':`; num_workers=0 needs neither"
                    )
            if self._timeout and time.monotonic() - begin > self._timeout:
                self.close()
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")

    def close(self) -> None:
        """Stop the processes; one that does not end by itself is terminated."""
        if self.closed:
            return
        self.closed = True
        for tasks in self._tasks:
            tasks.put(None)
        for process in self._processes:
            process.join(timeout=0.2)
            if process.is_alive():
                process.terminate()
                process.join()
        for q in (*self._tasks, self._results):
            q.cancel_join_thread()
            q.close()

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            self.close()
