"""Datasets, samplers and the loader: the same batches in any number of processes, and clear errors."""

import os
import signal
from typing import Any

import ingot
import numpy as np
import pytest
from ingot.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
    random_split,
)


class Squares(Dataset):
    """i -> i * i, which fails, or dies, at some index."""

    def __init__(self, length: int, fail_at: int = -1, die_at: int = -1) -> None:
        self.length, self.fail_at, self.die_at = length, fail_at, die_at

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if index == self.fail_at:
            raise KeyError(f"no square at {index}")
        if index == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return index * index


class Counting(IterableDataset):
    """0 to n - 1, shared out between workers."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Any:
        info = get_worker_info()
        return iter(range(self.n) if info is None else range(info.id, self.n, info.num_workers))


def lists(loader: DataLoader) -> list[Any]:
    return [batch.tolist() for batch in loader]


def test_batches_in_order_with_a_short_last_one() -> None:
    assert lists(DataLoader(Squares(5), batch_size=2)) == [[0, 1], [4, 9], [16]]
    assert lists(DataLoader(Squares(5), batch_size=2, drop_last=True)) == [[0, 1], [4, 9]]
    assert [len(DataLoader(Squares(5), 2)), len(DataLoader(Squares(5), 2, drop_last=True))] == [3, 2]
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert list(DataLoader(Squares(0), batch_size=2)) == []


def test_shuffled_by_a_generator_that_can_be_seeded() -> None:
    orders = []
    for _ in range(2):
        generator = ingot.Generator()
        generator.manual_seed(3)
        loader = DataLoader(TensorDataset(ingot.arange(20)), batch_size=4, shuffle=True, generator=generator)
        orders.append([[b.tolist() for (b,) in loader] for _ in range(2)])
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert sorted(i for batch in orders[0][0] for i in batch) == list(range(20))


def test_workers_give_the_same_batches_also_again() -> None:
    loader = DataLoader(Squares(11), batch_size=3, num_workers=2, persistent_workers=True)
    expected = lists(DataLoader(Squares(11), batch_size=3))
    try:
        assert lists(loader) == expected
        next(iter(loader))  # left in the middle
        assert lists(loader) == expected
    finally:
        assert loader._pool is not None
        loader._pool.close()


def test_workers_share_an_iterable_dataset() -> None:
    found = lists(DataLoader(Counting(7), batch_size=2, num_workers=2))
    assert sorted(i for batch in found for i in batch) == list(range(7))
    assert lists(DataLoader(Counting(5), batch_size=2)) == [[0, 1], [2, 3], [4]]


def test_an_error_in_a_worker_comes_with_its_traceback() -> None:
    loader = DataLoader(Squares(6, fail_at=3), batch_size=2, num_workers=1)
    batches = iter(loader)
    assert next(batches).tolist() == [0, 1]
    with pytest.raises(KeyError, match=r"worker process 0(.|\n)*no square at 3"):
        next(batches)


def test_a_worker_that_dies_is_noticed() -> None:
    loader = DataLoader(Squares(4, die_at=2), batch_size=2, num_workers=1)
    with pytest.raises(RuntimeError, match="by signal 9"):
        list(loader)


def test_what_cannot_be_pickled_is_said() -> None:
    with pytest.raises(RuntimeError, match="picklable"):
        list(DataLoader(Squares(4), num_workers=1, collate_fn=lambda batch: batch))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "positive integer"),
        ({"num_workers": -1}, "non-negative"),
        ({"shuffle": True, "sampler": range(3)}, "mutually exclusive"),
        ({"batch_size": 2, "batch_sampler": [[0]]}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "mutually exclusive"),
        ({"prefetch_factor": 2}, "num_workers"),
    ],
)
def test_arguments_that_exclude_each_other(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataLoader(Squares(3), **arguments)


def test_an_iterable_dataset_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="IterableDataset"):
        DataLoader(Counting(3), shuffle=True)


def test_collate_keeps_structure() -> None:
    batch = default_collate([{"a": np.float32(1), "b": ("x", [1, True])}, {"a": np.float32(2), "b": ("y", [2, False])}])
    assert batch["a"].tolist() == [1.0, 2.0] and batch["a"].dtype == ingot.float32
    names, (numbers, flags) = batch["b"]
    assert names == ["x", "y"] and numbers.tolist() == [1, 2] and flags.dtype == ingot.bool
    assert default_collate([np.zeros((2, 3)), np.ones((2, 3))]).shape == (2, 2, 3)
    with pytest.raises(RuntimeError, match="different shapes"):
        default_collate([ingot.ones(2), ingot.ones(3)])
    with pytest.raises(TypeError, match="object"):
        default_collate([object()])


def test_datasets_side_by_side_and_one_after_another() -> None:
    both = ConcatDataset([Squares(2), Squares(3)])
    assert [both[i] for i in range(len(both))] == [0, 1, 0, 1, 4]
    assert both[-1] == 4
    with pytest.raises(ValueError, match="exceed"):
        both[5]
    assert len(Squares(2) + Squares(2)) == 4
    assert list(ChainDataset([Counting(2), Counting(1)])) == [0, 1, 0]
    assert StackDataset(Squares(3), range(3))[2] == (4, 2)
    assert StackDataset(a=Squares(3))[2] == {"a": 4}
    assert [Subset(Squares(5), [4, 1])[i] for i in range(2)] == [16, 1]
    with pytest.raises(AssertionError, match="Size mismatch"):
        TensorDataset(ingot.ones(2), ingot.ones(3))


def test_random_split_uses_every_example_once() -> None:
    parts = random_split(range(10), [0.55, 0.45])
    assert [len(p) for p in parts] == [6, 4]
    assert sorted(x for p in parts for x in p) == list(range(10))
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(range(10), [3, 4])


def test_samplers() -> None:
    assert sorted(RandomSampler(range(5))) == list(range(5))
    assert len(list(RandomSampler(range(3), num_samples=8))) == 8
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=50))
    assert set(drawn) == {0, 1, 2}
    assert sorted(SubsetRandomSampler([7, 9])) == [7, 9]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    ingot.manual_seed(0)
    weighted = np.bincount(list(WeightedRandomSampler([1.0, 0.0, 3.0], 4000)), minlength=3)
    assert weighted[1] == 0 and abs(weighted[2] / 4000 - 0.75) < 0.05
    assert sorted(WeightedRandomSampler([1.0, 0.0, 3.0], 2, replacement=False)) == [0, 2]
    with pytest.raises(ValueError, match="above 0"):
        WeightedRandomSampler([1.0, 0.0], 2, replacement=False)
