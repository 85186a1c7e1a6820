"""The fuse: when nobody is asked, and how asking begins again."""

from __future__ import annotations

import pytest

from market.errors import AuthRequired, BourseError, LineDown, Rejected
from market.fuse import LONGEST_SECONDS, Fuse

DOWN = LineDown("x", "500")


def blown(*failures: BourseError) -> Fuse:
    fuse = Fuse("mine", trial=5.0)
    for why in failures:
        fuse.failed(why, 100.0)
    return fuse


@pytest.mark.parametrize(
    ("failures", "free"),
    [
        ([DOWN], 100.0),
        ([DOWN] * 2, 100.0),
        ([DOWN] * 3, 110.0),
        ([DOWN] * 4, 120.0),
        ([DOWN] * 5, 140.0),
        ([DOWN] * 50, 100.0 + LONGEST_SECONDS),
        ([LineDown("x", "429", 20.0)], 120.0),
        ([LineDown("x", "429", 1e9)], 100.0 + LONGEST_SECONDS),
        ([AuthRequired("x", "log in")], 110.0),
        ([Rejected("x", "404", "no")], 110.0),
    ],
)
def test_it_is_blown_for_so_long(failures: list[BourseError], free: float) -> None:
    fuse = blown(*failures)

    assert not fuse.blown(free)
    assert free == 100.0 or fuse.blown(free - 0.001)


def test_one_is_let_through_to_see_and_the_others_wait_for_it() -> None:
    fuse = blown(DOWN, DOWN, DOWN)

    fuse.check(110.0)

    with pytest.raises(LineDown, match="not asked for 5 s more, after 3 failures in a row: 500"):
        fuse.check(110.0)
    fuse.check(115.0)


def test_an_answer_makes_it_whole() -> None:
    fuse = blown(DOWN, DOWN, DOWN)

    fuse.well()

    fuse.check(100.0)
    assert (fuse.failures, fuse.blown(100.0)) == (0, False)


def test_what_a_person_must_put_right_is_said_to_everybody_as_it_was() -> None:
    fuse = blown(Rejected("x", "404", "no such model"))

    with pytest.raises(Rejected, match="404: no such model"):
        fuse.check(101.0)
