"""The visit cache: pages by their address, and none that nobody asks for any more."""

from __future__ import annotations

from pathlib import Path

from adapters.visit_cache import Cached, VisitCache
from market.ipo.visiting import Standing, Standings, Turn

URL = "http://127.0.0.1:9/board"


def test_a_page_is_found_at_its_address_and_damaged_bytes_are_none(tmp_path: Path) -> None:
    cache, kept = VisitCache(tmp_path / "visits"), Cached(URL, b"a board\nof two lines", '"e"', "")
    cache.keep("ipowatch", "board", kept)

    found, elsewhere = cache.find("ipowatch", "board", URL), cache.find("ipowatch", "board", URL + "?p=2")
    (file,) = (tmp_path / "visits").glob("*.page")
    file.write_bytes(file.read_bytes()[:-1])

    assert found == kept and elsewhere is None
    assert cache.find("ipowatch", "board", URL) is None


def test_pages_that_the_standings_have_forgotten_are_let_go(tmp_path: Path) -> None:
    cache, known = VisitCache(tmp_path), Standing(pages={"board": Turn(due=1), "bids OLD": Turn(due=1)})
    for page in known.pages:
        cache.keep("nse", page, Cached(URL, page.encode()))

    cache.remember(Standings(sources={"nse": known}))
    both = [cache.find("nse", page, URL) is not None for page in known.pages]
    cache.remember(Standings(sources={"nse": Standing(pages={"board": Turn(due=2)})}))

    assert both == [True, True]
    assert [cache.find("nse", page, URL) is not None for page in known.pages] == [True, False]
    assert cache.recall().sources["nse"].pages == {"board": Turn(due=2)}
    assert len(list(tmp_path.glob("*.page"))) == 1
