"""What is injected is drawn from the seed alone, in the numbers that were asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.injuries import INJURIES
from tests.faults.kinds import DIRECTORY, KINDS, MIXED, S3, STORES, CampaignName, campaigns, members
from tests.faults.schedule import CLOCK_JUMP_S, draw_faults, share_out

ALL = campaigns(STORES, tuple(KINDS))


def test_every_kind_has_its_injury() -> None:
    assert set(INJURIES) == set(KINDS) - {MIXED}


def test_a_store_suffers_only_what_it_has() -> None:
    assert CampaignName(DIRECTORY, "kill-server") not in ALL
    assert CampaignName(S3, "full-disk") not in ALL
    assert CampaignName(S3, "kill-server") in ALL
    assert "full-disk" in members(DIRECTORY)
    assert MIXED not in members(DIRECTORY)
    assert "replaced-driver" not in members(S3)


@given(st.sampled_from(ALL), st.integers(0, 30), st.integers())
def test_the_same_seed_draws_the_same_faults(name: CampaignName, n: int, seed: int) -> None:
    faults = draw_faults(name, n, seed)
    assert faults == draw_faults(name, n, seed)
    assert len(faults) == n


@given(st.sampled_from(ALL), st.integers())
def test_faults_are_within_the_bounds_of_their_kind(name: CampaignName, seed: int) -> None:
    for fault in draw_faults(name, 20, seed):
        assert fault.kind in (members(name.store) if name.kind == MIXED else (name.kind,))
        assert fault.lasts_s <= KINDS[fault.kind].lasts_s[1]
        assert 0 <= fault.victim < 1
        assert CLOCK_JUMP_S[0] <= abs(fault.clock_s) * 1.000001
        assert abs(fault.clock_s) <= CLOCK_JUMP_S[1] * 1.000001


def test_other_seeds_and_other_campaigns_draw_other_faults() -> None:
    name = CampaignName(DIRECTORY, "stop-worker")
    drawn = {draw_faults(name, 3, 1), draw_faults(name, 3, 2), draw_faults(CampaignName(S3, "stop-worker"), 3, 1)}
    assert len(drawn) == 3


def test_a_mixed_campaign_is_of_as_many_kinds_as_it_has_faults_and_of_none_it_must_do_without() -> None:
    name = CampaignName(DIRECTORY, MIXED)
    kinds = members(DIRECTORY)
    assert sorted(fault.kind for fault in draw_faults(name, len(kinds), 3)) == sorted(kinds)
    without = draw_faults(name, 50, 3, {"full-disk"})
    assert {fault.kind for fault in without} == set(kinds) - {"full-disk"}


@given(st.integers(0, 500), st.lists(st.sampled_from(ALL), min_size=1, unique=True))
def test_faults_are_shared_out_in_full_and_no_campaign_is_without(total: int, names: list[CampaignName]) -> None:
    shares = share_out(total, names)
    assert list(shares) == names
    assert min(shares.values()) >= 1
    assert sum(shares.values()) >= total
    if total >= sum(KINDS[name.kind].weight for name in names):
        assert sum(shares.values()) == total


@pytest.mark.parametrize("total", [200, 210, 1000])
def test_a_campaign_of_twice_the_weight_has_twice_the_faults(total: int) -> None:
    shares = share_out(total, ALL)
    assert sum(shares.values()) == total
    weights = sum(KINDS[name.kind].weight for name in ALL)
    for name, n in shares.items():
        assert abs(n - total * KINDS[name.kind].weight / weights) <= 1
