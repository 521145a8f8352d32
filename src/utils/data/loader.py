"""The loader: batches of a dataset's examples, made here or by worker processes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...eager.creation import tensor as _tensor
from ...eager.functions import call as _call
from ...eager.tensor import Tensor
from ...ir.random_state import Generator, default_generator
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler
from .workers import WorkerInfo, WorkerPool, get_worker_info

__all__ = ["DataLoader", "WorkerInfo", "default_collate", "default_convert", "get_worker_info"]


def default_collate(batch: list[Any]) -> Any:
    """A list of examples as one batch: tensors stacked, numbers as tensors, tuples and dictionaries item by item.

    >>> ingot.utils.data.default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.], dtype=ingot.float64)]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        shapes = {tuple(t.shape) for t in batch}
        if len(shapes) > 1:
            raise RuntimeError(
                f"cannot make one batch of tensors of different shapes: {sorted(shapes)}; pass a collate_fn that pads"
            )
        return _call("stack", batch, 0)
    if isinstance(first, np.ndarray):
        return default_collate([_tensor(a) for a in batch])
    if isinstance(first, np.generic):
        return _tensor(np.array(batch))
    if isinstance(first, bool):
        return _tensor(batch)
    if isinstance(first, float):
        return _tensor(np.array(batch, np.float64))
    if isinstance(first, int):
        return _tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return {key: default_collate([example[key] for example in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(list(column)) for column in zip(*batch, strict=True)))
    if isinstance(first, (tuple, list)):
        if any(len(example) != len(first) for example in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(list(column)) for column in zip(*batch, strict=True)]
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {type(first)}"
    )


def default_convert(data: Any) -> Any:
    """An example as it is, but with numpy arrays as tensors, also within tuples, lists and dictionaries."""
    if isinstance(data, np.ndarray) and data.dtype.kind not in "SUO":
        return _tensor(data)
    if isinstance(data, np.generic) and data.dtype.kind not in "SU":
        return _tensor(np.asarray(data))
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    if isinstance(data, (tuple, list)):
        return [default_convert(value) for value in data]
    return data


class _Fetch:
    """Makes the batch for a list of indices (or one index, where there is no batching)."""

    def __init__(self, dataset: Any, collate: Callable[[Any], Any], batched: bool) -> None:
        self.dataset = dataset
        self.collate = collate
        self.batched = batched

    def __call__(self, indices: Any) -> Any:
        if not self.batched:
            example: Any = self.dataset[indices]
        elif hasattr(self.dataset, "__getitems__"):
            example = self.dataset.__getitems__(indices)
        else:
            example = [self.dataset[i] for i in indices]
        return self.collate(example)


class DataLoader:
    """Iterates over a dataset in batches, as often as one asks for an iterator.

    With `num_workers` processes the batches are made ahead (`prefetch_factor` each) and come in the same order and with
    the same content as without; processes are started fresh ("spawn"), so that the threads here are no danger to them,
    and the dataset must be picklable. An error in a worker is raised here with the worker's traceback; a worker that
    dies raises RuntimeError. ValueError for arguments that exclude each other.

    >>> data = ingot.utils.data.TensorDataset(ingot.arange(5))
    >>> [batch.tolist() for (batch,) in ingot.utils.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if multiprocessing_context is not None and num_workers == 0:
            raise ValueError("multiprocessing_context can only be used with multi-process loading (num_workers > 0)")
        if num_workers == 0 and (prefetch_factor is not None or persistent_workers):
            raise ValueError("prefetch_factor and persistent_workers need num_workers > 0")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor option should be positive, given {prefetch_factor}")
        self.iterable = isinstance(dataset, IterableDataset)
        if self.iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader with IterableDataset: expected no shuffle, sampler or batch_sampler option")
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                                 "drop_last")  # fmt: skip
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        elif batch_size is not None and (not isinstance(batch_size, int) or batch_size <= 0):
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        self.dataset = dataset
        self.num_workers = num_workers
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order  # batches always come in order: it is no slower here
        self.drop_last = drop_last
        self.batch_size = batch_size
        self._batched = batch_size is not None or batch_sampler is not None
        if self.iterable:
            sampler = None
        elif sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler = sampler
        if batch_sampler is None and batch_size is not None and sampler is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        default = default_collate if self._batched else default_convert
        self.collate_fn: Callable[[Any], Any] = default if collate_fn is None else collate_fn
        self._pool: WorkerPool | None = None

    def __len__(self) -> int:
        if self.iterable:
            count = len(self.dataset)
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return len(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers:
            return self._from_workers()
        if self.iterable:
            return iterate(self.dataset, self.batch_size, self.drop_last, self.collate_fn)
        fetch = _Fetch(self.dataset, self.collate_fn, self._batched)
        order: Any = self.batch_sampler if self._batched else self.sampler
        return (fetch(indices) for indices in order)

    def _from_workers(self) -> Iterator[Any]:
        seed = int((self.generator or default_generator).integers(0, 2**62, (1,))[0])
        pool = self._pool
        if pool is None or pool.closed:
            if self.iterable:
                made: Any = (iterate, self.dataset, self.batch_size, self.drop_last, self.collate_fn)
            else:
                made = _Fetch(self.dataset, self.collate_fn, self._batched)
            pool = WorkerPool(
                made,
                self.dataset,
                self.num_workers,
                self.worker_init_fn,
                self.timeout,
                self.multiprocessing_context,
                seed,
            )
        self._pool = pool if self.persistent_workers else None
        ahead = self.num_workers * (self.prefetch_factor or 2)
        try:
            if self.iterable:
                yield from pool.streams(ahead)
            else:
                yield from pool.ordered(self.batch_sampler if self._batched else self.sampler, ahead)  # type: ignore[arg-type]
        finally:
            if not self.persistent_workers:
                pool.close()


def iterate(dataset: Any, batch_size: int | None, drop_last: bool, collate: Any) -> Iterator[Any]:
    """The batches of an iterable dataset."""
    examples = iter(dataset)
    if batch_size is None:
        yield from map(collate, examples)
        return
    batch: list[Any] = []
    for example in examples:
        batch.append(example)
        if len(batch) == batch_size:
            yield collate(batch)
            batch = []
    if batch and not drop_last:
        yield collate(batch)
