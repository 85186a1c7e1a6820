"""Robots files: who is meant, what is refused, and that none of them can hold us up."""

from __future__ import annotations

import pytest

from adapters.robots import RobotRules

HOST = "https://a.example"
BOARD = "/report/331/all?search=&v="


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", BOARD, True),
        ("User-agent: *\nDisallow:\n", BOARD, True),
        ("User-agent: *\nDisallow: /\n", BOARD, False),
        ("User-agent: *\nDisallow: /report/\n", BOARD, False),
        ("User-agent: *\nDisallow: /report/\n", "/gmp/", True),
        ("User-agent: *\nDisallow: /*?\n", BOARD, False),
        ("User-agent: *\nDisallow: /*?\n", "/gmp/", True),
        ("User-agent: *\nDisallow: /*?search=*&v=\n", BOARD, False),
        ("User-agent: *\nDisallow: /*.aspx$\n", "/issue.aspx", False),
        ("User-agent: *\nDisallow: /*.aspx$\n", "/issue.aspx?id=1", True),
        ("User-agent: *\nDisallow: /gmp/$\n", "/gmp/", False),
        ("User-agent: *\nDisallow: /gmp/$\n", "/gmp/amber/", True),
        ("User-agent: *\nDisallow: /*/b/*/b$\n", "/a/b/b", True),
        ("user-agent: *\ndisallow: /*?  # no searches\n", BOARD, False),
        ("User-agent: other\nDisallow: /*?\n", BOARD, True),
        ("User-agent: other\nUser-agent: *\nDisallow: /*?\n", BOARD, False),
        ("User-agent: *\nDisallow: /*?\n\nUser-agent: bourse\nAllow: /\n", BOARD, True),
        ("User-agent: Bourse\nDisallow: /*?\n\nUser-agent: *\nAllow: /\n", BOARD, False),
        ("User-agent: *\nDisallow: /*%3Fsearch\n", BOARD, False),
        ("User-agent:\nDisallow: /*?\n", BOARD, True),
        ("no robots file\n<html>", BOARD, True),
    ],
)
def test_what_is_refused_to_us_is_not_asked_for(text: str, path: str, allowed: bool) -> None:
    assert RobotRules(text).allow(f"{HOST}{path}") is allowed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("User-agent: *\nCrawl-delay: 30\n", 30.0),
        ("User-agent: bourse\nCrawl-delay: 5\n\nUser-agent: *\n", 5.0),
    ],
)
def test_a_delay_is_read_where_there_is_one(text: str, seconds: float) -> None:
    assert RobotRules(text).delay == seconds


def test_a_delay_that_is_no_number_makes_the_file_unreadable() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        RobotRules("User-agent: *\nCrawl-delay: \u00b2\n")


def test_a_pattern_made_to_take_for_ever_takes_no_time() -> None:
    rules = RobotRules("User-agent: *\nDisallow: /" + "*a" * 2000 + "b\n")

    assert rules.allow(f"{HOST}/{'a' * 4000}")
