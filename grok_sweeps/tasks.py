"""The tasks: binary operations modulo p, each one entry of `TASKS`.

A task says which class a pair (a, b) has and, where the operation is not defined for every pair, which pairs there are.
To add one, write its function and register it here; it is then a value of the axis `task`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Residues = np.ndarray
"""int64 residues modulo p, any shape."""


def _everywhere(a: Residues, b: Residues) -> np.ndarray:
    return np.ones(np.broadcast_shapes(a.shape, b.shape), dtype=bool)


def _inverse(b: Residues, p: int) -> Residues:
    """Multiplicative inverses modulo a prime p; 0 for 0."""
    table = np.array([pow(int(x), p - 2, p) for x in range(p)], dtype=np.int64)
    inverses: Residues = table[b]
    return inverses


@dataclass(frozen=True, slots=True)
class Task:
    """`answer(a, b, p)` is the class, in 0 … p−1, of the pairs for which `defined(a, b)` holds."""

    answer: Callable[[Residues, Residues, int], Residues]
    defined: Callable[[Residues, Residues], np.ndarray] = _everywhere
    needs_prime: bool = False


TASKS: dict[str, Task] = {
    "add": Task(lambda a, b, p: (a + b) % p),
    "sub": Task(lambda a, b, p: (a - b) % p),
    "mul": Task(lambda a, b, p: (a * b) % p),
    "div": Task(lambda a, b, p: (a * _inverse(b, p)) % p, defined=lambda _, b: b != 0, needs_prime=True),
    "sum_of_squares": Task(lambda a, b, p: (a * a + b * b) % p),
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of a task in the order of their index a·p + b: first and second residue and class, [K] int64 each."""

    a: np.ndarray
    b: np.ndarray
    target: np.ndarray


def pairs(task: str, p: int) -> Pairs:
    """Every pair for which the task is defined; K = p² for all tasks but division, which has p(p−1)."""
    a, b = np.divmod(np.arange(p * p, dtype=np.int64), p)
    defined = TASKS[task].defined(a, b)
    a, b = a[defined], b[defined]
    return Pairs(a, b, TASKS[task].answer(a, b, p))


@lru_cache
def n_pairs(task: str, p: int) -> int:
    """K, the number of pairs."""
    return len(pairs(task, p).a)


def is_prime(p: int) -> bool:
    """Whether p is a prime."""
    return p > 1 and all(p % q for q in range(2, int(p**0.5) + 1))
