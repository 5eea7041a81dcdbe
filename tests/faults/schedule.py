"""What is injected and when: drawn from a seed before anything starts, so that a campaign can be repeated. Pure.

The moments are the draw's, what they meet is the machine's: two campaigns of one seed do the same things to sweeps that
are not at the same step.
"""

from __future__ import annotations

import math
import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.kinds import KINDS, MIXED, MIXED_LASTS_S, CampaignName, members

AT_WORK_SHARE = 0.75
"""Share of faults that wait until the sweep trains again; the others hit starts, recoveries and changes of packs."""
AFTER_S = {True: 2.0, False: 4.0}
"""Longest wait before a fault: since steps are trained, or since the last fault or start."""
CLOCK_JUMP_S = (60.0, 6 * 3600.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a campaign.

    Attributes:
        kind: a name in `KINDS`, never the mixed one.
        at_work: whether it waits until steps are trained since the last fault.
        after_s: and then this long.
        lasts_s: how long it lasts.
        clock_s: how far a clock jumps.
        victim: in [0, 1), which of several processes.
        seed: of what is drawn while the fault lasts: the requests that are refused, the times that answers take.
    """

    kind: str
    at_work: bool
    after_s: float
    lasts_s: float
    clock_s: float
    victim: float
    seed: int


def draw_faults(name: CampaignName, n: int, seed: int, without: Container[str] = ()) -> tuple[Fault, ...]:
    """The `n` faults of a campaign; a mixed one has none of the kinds `without`."""
    draw = random.Random(f"{seed} {name}")
    if name.kind != MIXED:
        return tuple(_draw(draw, name.kind) for _ in range(n))
    # In shuffled rounds, so that few faults are of many kinds.
    possible = [kind for kind in members(name.store) if kind not in without]
    kinds: list[str] = []
    while len(kinds) < n:
        kinds += draw.sample(possible, len(possible))
    return tuple(_draw(draw, kind, MIXED_LASTS_S) for kind in kinds[:n])


def _draw(draw: random.Random, kind: str, longest_s: float = math.inf) -> Fault:
    at_work = draw.random() < AT_WORK_SHARE
    least, most = KINDS[kind].lasts_s
    return Fault(
        kind,
        at_work,
        draw.uniform(0.0, AFTER_S[at_work]),
        min(draw.uniform(least, most), longest_s),
        draw.choice((-1, 1)) * math.exp(draw.uniform(*map(math.log, CLOCK_JUMP_S))),
        draw.random(),
        draw.getrandbits(32),
    )


def share_out(total: int, names: Sequence[CampaignName]) -> Mapping[CampaignName, int]:
    """How many faults each campaign gets: by weight, at least one each, `total` in all where that is enough."""
    weights = {name: KINDS[name.kind].weight for name in names}
    whole = sum(weights.values())
    shares = {name: max(1, total * weight // whole) for name, weight in weights.items()}
    # What rounding left goes to those that it cost most.
    short = sorted(names, key=lambda name: shares[name] - total * weights[name] / whole)
    for k in range(max(0, total - sum(shares.values()))):
        shares[short[k % len(short)]] += 1
    return shares
