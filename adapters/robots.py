"""Robots: what a host's robots file lets us ask for, and how fast.

The standard library reads the file, but knows no wildcards, and many a file refuses by them. Those refusals are read
here, and hold whatever else allows the path: at worst we ask for less than we might. Source: RFC 9309, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit
from urllib.robotparser import RobotFileParser

from market.ipo.sources import ROBOT


class RobotRules:
    """A robots file as it is meant for us."""

    def __init__(self, text: str) -> None:
        """Raises ValueError for a file that cannot be read."""
        self._parser = RobotFileParser()
        self._parser.parse(text.splitlines())
        groups = list(_groups(text))
        ours = [rules for agents, rules in groups if any(agent not in ("", "*") and agent in ROBOT for agent in agents)]
        meant = ours or [rules for agents, rules in groups if "*" in agents]
        self._refused = [unquote(path) for rules in meant for path in rules]

    @property
    def delay(self) -> float:
        """Seconds that it wants between two requests; 0 where it says nothing."""
        return float(self._parser.crawl_delay(ROBOT) or 0)

    def allow(self, url: str) -> bool:
        """Whether we may ask for an address of its host."""
        at = urlsplit(url)
        path = unquote(f"{at.path or '/'}{f'?{at.query}' if at.query else ''}")
        return self._parser.can_fetch(ROBOT, url) and not any(_fits(pattern, path) for pattern in self._refused)


def _groups(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The agents of each group, in small letters, and the paths with wildcards that it refuses them."""
    agents: list[str] = []
    rules: list[str] = []
    begun = False
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        if name.lower() == "user-agent":
            if begun:
                yield agents, rules
                agents, rules, begun = [], [], False
            agents.append(value.lower())
        elif name:
            begun = True
            if name.lower() == "disallow" and ("*" in value or value.endswith("$")):
                rules.append(value)
    yield agents, rules


def _fits(pattern: str, path: str) -> bool:
    # By hand: a pattern is a stranger's, and as a regular expression it could take for ever.
    whole = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    reached = len(first)
    if not others:
        return not whole or reached == len(path)
    for part in others[:-1]:
        found = path.find(part, reached)
        if found < 0:
            return False
        reached = found + len(part)
    last = others[-1]
    return path.endswith(last) and len(path) - len(last) >= reached if whole else path.find(last, reached) >= 0
