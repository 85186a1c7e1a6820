from __future__ import annotations

import pytest

from benchmarks.fuzz import besieged

LINES = 32
"""To the bus: one for each thread that may read what a channel missed."""


@pytest.mark.endurance
def test_who_means_it_ill_disturbs_nobody() -> None:
    found = besieged(20.0, seed=3)

    figures, told = found["figures"], found["told"]
    assert figures["alive"] == 1 and figures["our_fault"] == 0, told
    assert figures["healthy_lost"] == 0 and figures["updates_per_s"] > 0
    assert figures["descriptors_after"] <= figures["descriptors_before"] + LINES
    assert figures["resident_mb_peak"] < figures["resident_mb_before"] + 400
    assert all(counts.get("tried", counts.get("bytes", 0)) > 0 for counts in told.values()) and len(told) == 12
