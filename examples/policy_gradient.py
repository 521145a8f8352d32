"""REINFORCE (Williams, 1992) with a baseline on a small grid: walk to the goal past the pits.

Run `python examples/policy_gradient.py`: under a minute.
"""

import argparse

import ingot
import numpy as np
from ingot import nn, train

GRID = ["S..#", "..#.", "#...", "..#G"]  # S start, # pit, G goal
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]
LIMIT = 20


def play(policy: nn.Module, games: int) -> tuple[ingot.Tensor, ingot.Tensor, np.ndarray, float]:
    """Log-probabilities and entropies of the moves, what followed each move, and the part of games won."""
    rows, columns = len(GRID), len(GRID[0])
    place = np.zeros((games, 2), int)
    alive = np.ones(games, bool)
    won = np.zeros(games, bool)
    log_probabilities, entropies, rewards, counted = [], [], [], []
    for _ in range(LIMIT):
        cell = ingot.from_numpy(place[:, 0] * columns + place[:, 1])
        logs = policy(cell).log_softmax(1)
        chances = logs.exp().detach().numpy().cumsum(1)
        move = np.minimum((np.random.rand(games, 1) > chances).sum(1), 3)
        log_probabilities.append(logs.gather(1, ingot.from_numpy(move).unsqueeze(1)).squeeze(1))
        entropies.append(-(logs.exp() * logs).sum(1))
        counted.append(alive.copy())
        place = np.clip(place + np.array(MOVES)[move] * alive[:, None], 0, [rows - 1, columns - 1])
        found = np.array([GRID[y][x] for y, x in place])
        rewards.append(alive * np.where(found == "G", 1.0, np.where(found == "#", -1.0, -0.02)))
        won |= alive & (found == "G")
        alive &= (found != "G") & (found != "#")
    following = np.cumsum(np.array(rewards)[::-1], axis=0)[::-1]
    mask = np.array(counted)
    following = np.where(mask, following - following[mask].mean(), 0.0) / (following[mask].std() + 1e-6)
    weights = ingot.from_numpy(mask.astype(np.float32))
    return (
        ingot.stack(log_probabilities) * weights,
        ingot.stack(entropies) * weights,
        following.astype(np.float32),
        float(won.mean()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=150)
    options = parser.parse_args()
    train.seed_everything(0)
    policy = nn.Sequential(nn.Embedding(16, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = ingot.optim.Adam(policy.parameters(), lr=0.03)
    for round_ in range(options.rounds):
        logs, entropies, following, won = play(policy, 64)
        loss = -(logs * ingot.from_numpy(following)).sum() / 64 - 0.01 * entropies.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        if round_ % 25 == 0 or round_ == options.rounds - 1:
            print(f"round {round_:3}: {won:4.0%} of the games won")


if __name__ == "__main__":
    main()
