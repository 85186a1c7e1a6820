"""The quarantine: refused payloads, kept for a human and within bounds."""

from __future__ import annotations

import json
from pathlib import Path

from adapters.quarantine import KEPT, LARGEST, Quarantine
from market.errors import BadPayload


def test_a_payload_is_kept_as_it_came_with_who_and_why(tmp_path: Path) -> None:
    path = Quarantine(str(tmp_path / "kept")).keep(BadPayload("kite/0", b"\x00\x01garbage", "too short"))

    assert path is not None
    assert path.read_bytes() == b"\x00\x01garbage"
    said = [json.loads(line) for line in (tmp_path / "kept" / "index.jsonl").read_text().splitlines()]
    assert [(s["source"], s["reason"], s["bytes"], s["file"]) for s in said] == [("kite/0", "too short", 9, path.name)]


def test_a_huge_payload_is_cut_and_its_true_size_is_told(tmp_path: Path) -> None:
    path = Quarantine(str(tmp_path)).keep(BadPayload("kite", b"x" * (LARGEST + 7), "too long"))

    assert path is not None
    assert path.stat().st_size == LARGEST
    assert json.loads((tmp_path / "index.jsonl").read_text())["bytes"] == LARGEST + 7


def test_many_in_a_row_are_all_kept(tmp_path: Path) -> None:
    keep = Quarantine(str(tmp_path))

    paths = [keep.keep(BadPayload("kite", bytes([k]), "odd")) for k in range(200)]

    assert len({p for p in paths if p}) == 200
    assert sorted(p.read_bytes()[0] for p in tmp_path.glob("*.bin")) == list(range(200))


def test_a_full_folder_takes_no_more_even_after_a_restart(tmp_path: Path) -> None:
    for k in range(KEPT - 1):
        (tmp_path / f"kite-{k}.bin").touch()

    keep = Quarantine(str(tmp_path))
    last, surplus = (keep.keep(BadPayload("kite", b"?", "odd")) for _ in range(2))
    again = Quarantine(str(tmp_path)).keep(BadPayload("kite", b"?", "odd"))

    assert last is not None
    assert (surplus, again) == (None, None)
    assert len(list(tmp_path.glob("*.bin"))) == KEPT
