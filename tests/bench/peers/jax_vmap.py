"""JAX: one run's step as a pure function, `vmap` over seeds, `jit` over a loop of steps. Needs `pip install jax`.

The hidden layer is the two-table form on train pairs, as in the engine, so that what differs is the compiler.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from tests.bench.case import BETA1, BETA2, D_MODEL, EPSILON, LR, MATRICES, WEIGHT_DECAY, Case, Contender


def _loss(w: dict[str, Any], a: Any, b: Any, target: Any, tau: float) -> Any:
    first, second = w["E"] @ w["W1"][:D_MODEL], w["E"] @ w["W1"][D_MODEL:] + w["b1"]
    logits = jax.nn.gelu(first[a] + second[b], approximate=False) @ w["W2"] + w["b2"]
    log_q = jax.nn.log_softmax(logits / tau)
    return -jnp.take_along_axis(log_q, target[:, None], 1).mean()


def _step(case: Case, state: Any, pairs: Any) -> Any:
    w, first, second, t = state
    t = t + 1
    g = jax.grad(_loss)(w, *pairs, case.tau)
    first = {k: BETA1 * first[k] + (1 - BETA1) * g[k] for k in w}
    second = {k: BETA2 * second[k] + (1 - BETA2) * g[k] ** 2 for k in w}
    rate, root = LR / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
    w = {k: w[k] - rate * first[k] / (jnp.sqrt(second[k]) / root + EPSILON) for k in w}
    w = {k: x * (1 - LR * WEIGHT_DECAY) if k in MATRICES else x for k, x in w.items()}
    scale = case.norm / jnp.sqrt(sum(jnp.sum(w[k] ** 2) for k in MATRICES))
    w = {k: x * scale if k in MATRICES else x for k, x in w.items()}
    return w, first, second, t


def trainer(case: Case, device: torch.device) -> Contender:
    """See the package.

    Raises:
        RuntimeError: JAX has no such device.
    """
    place = jax.devices("cuda" if device.type == "cuda" else "cpu")[0]
    w = {name: jax.device_put(value.numpy(), place) for name, value in case.stacked(torch.device("cpu")).items()}
    zeros = {name: jnp.zeros_like(x) for name, x in w.items()}
    state = (w, zeros, zeros, jax.device_put(np.zeros(case.seeds, np.float32), place))
    rows = np.stack([case.train_rows(seed).numpy() for seed in range(case.seeds)])
    a, b = rows // case.p, rows % case.p
    pairs = tuple(jax.device_put(x.astype(np.int32), place) for x in (a, b, (a + b) % case.p))
    many = jax.vmap(partial(_step, case))

    @jax.jit
    def steps(n_steps: Any, state: Any, pairs: Any) -> Any:
        return jax.lax.fori_loop(0, n_steps, lambda _, s: many(s, pairs), state)

    def train(n_steps: int) -> None:
        nonlocal state
        state = jax.block_until_ready(steps(n_steps, state, pairs))

    def weights() -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.array(value)) for name, value in state[0].items()}

    return Contender(train, weights)
