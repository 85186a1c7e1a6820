"""Signals: one stream of them, whoever gives it and however often: on the bus, in the read model, in the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.archive import Archive
from actors.plans import ArchivePlan, SignalsPlan
from actors.signals import Signals
from adapters import entries
from adapters.bus import SEQUENCE_BITS, Bus
from adapters.lake import Lake
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.signals import read_signals
from market.instruments import Kind
from market.money import money
from market.scores import HORIZON_NAMES, SCORE, Scores
from market.sessions import MINUTE, Sessions, session
from market.signals import SIGNAL, Action, Reason, Rules, SignalMachine, records, scored
from tests.actors.day import SESSION, Running, instruments, log
from tests.adapters.ear import Ear

OF = instruments()[:2]
SYMBOLS = [i.symbol for i in OF]
DAY = session(SESSION.date)
RULES = Rules(dwell_minutes=2)


def minute(number: int, prediction: tuple[float, float], horizon: str = "15m") -> Scores:
    """The scorecards of a minute of two shares."""
    rows = np.zeros(len(OF), SCORE)
    rows["instrument"], rows["start"] = range(len(OF)), DAY.open + number * MINUTE
    rows["horizon"], rows["close"], rows["atr"] = HORIZON_NAMES.index(horizon), money("100"), 0.001
    rows["prediction"], rows["confidence"] = prediction, np.abs(2 * np.array(prediction) - 1)
    rows["abstained"] = np.isnan(prediction)
    rows["composite"] = 5 * (2 * np.nan_to_num(prediction, nan=0.5) - 1)
    rows["version"] = b"direction-15m@3"
    return rows


def day() -> list[Scores]:
    """Forty minutes that rise, fall, wander and abstain, seeded; each with the scorecards of another horizon."""
    rng = np.random.default_rng(5)
    levels = np.clip(0.5 + rng.normal(0, 0.06, (40, 2)).cumsum(axis=0), 0, 1)
    levels[12, 0] = np.nan
    return [np.concatenate([minute(k, tuple(p)), minute(k, (1.0, 1.0), "5m")]) for k, p in enumerate(levels)]


def put(bus: Bus, day: list[Scores], first: int = 0) -> None:
    """On the bus, as Analysis would."""
    rows = [(0, (first + k + 1) << SEQUENCE_BITS, entries.encode(one)) for k, one in enumerate(day)]
    assert all(bus.write_all("scores", rows))


def plan(url: str, **more: Any) -> SignalsPlan:
    told: dict[str, Any] = {
        "bus": url, "cache": url, "partitions": 1, "instruments": OF, "sessions": (DAY,), "mine": (0,),
        "rules": RULES, "snapshot_seconds": 0.0, "log_level": "critical",
    }  # fmt: skip
    return SignalsPlan(**{**told, **more})


def give_all(bus: Bus, url: str, **more: Any) -> dict[str, Any]:
    """One shell from where the snapshot stands to the end of the log; its last health."""
    shell = Signals(plan(url, **more))
    one = Running(shell)
    one.wait(lambda: [p["cursor"] for p in shell.health()["partitions"].values()] == [bus.last("scores", 0)])
    one.stop()
    part: dict[str, Any] = shell.health()["partitions"]["0"]
    return part


def given(bus: Bus) -> list[tuple[int, bytes]]:
    """Id and payload of every entry of the topic."""
    return [(entry.id, entry.payload) for entry in log(bus, "signals", 0)]


def test_signals_are_written_once_whoever_goes_on_and_from_wherever(server: RedisServer, bus: Bus) -> None:
    whole = SignalMachine(len(OF), Sessions([DAY]).table(), RULES)
    expected = [whole.step(scored(one, "15m")) for one in day()]
    put(bus, day()[:15])
    give_all(bus, server.url)
    put(bus, day()[15:], first=15)

    second = give_all(bus, server.url)
    before = given(bus)
    line = RedisLine(server.url)
    line.call("DEL", "snapshot:signals:{0}")
    line.close()
    third = give_all(bus, server.url)

    made = [(k, rows) for k, rows in enumerate(expected, 1) if len(rows)]
    assert [one >> SEQUENCE_BITS for one, _ in before] == [k for k, _ in made]
    assert b"".join(entries.decode(p, SIGNAL).tobytes() for _, p in before) == b"".join(r.tobytes() for _, r in made)
    assert given(bus) == before
    assert (second["again"], third["again"]) == (0, sum(len(rows) for _, rows in made))
    assert {Reason.ENTERED, Reason.ABSTAINED} <= {Reason(why) for _, rows in made for why in rows["reason"]}


def test_a_new_signal_is_said_and_kept_in_the_lake(server: RedisServer, bus: Bus, tmp_path: Path) -> None:
    put(bus, [minute(1, (0.7, 0.5)), minute(2, (float("nan"), 0.5))])
    ear = Ear(server.url, "signal:alerts")

    give_all(bus, server.url)
    lake = tmp_path / "lake"
    told = {"bus": server.url, "cache": server.url, "partitions": 1, "instruments": OF, "sessions": (DAY,)}
    archive = Archive(ArchivePlan(**told, lake=str(lake), feeds=(), commit_seconds=0.0, tables=("signals",)))
    one = Running(archive)
    one.wait(lambda: archive.health()["tables"].get("signals", {}).get("committed") == {"0": bus.last("signals", 0)})
    one.stop()

    said = ear.heard()
    kept = read_signals(Lake(str(lake)), ["NSE:RELIANCE"], DAY.date, DAY.date)
    assert [one.model_dump() for one in kept] == said
    assert [(s.action, s.reason, s.abstained, s.version) for s in kept] == [
        ("BUY", "ENTERED", None, "direction-15m@3"),
        ("HOLD", "ABSTAINED", "UNKNOWN", "direction-15m@3"),
    ]
    assert (kept[0].price, kept[0].stop, kept[0].at) == (100.0, 99.4191, DAY.open + 2 * MINUTE)
    rows = entries.decode(log(bus, "signals", 0)[0].payload, SIGNAL)
    assert records(rows, SYMBOLS) == [kept[0]] and rows["action"] == [Action.BUY]


def test_entries_nobody_can_read_are_counted_and_passed_over(server: RedisServer, bus: Bus) -> None:
    bus.write("scores", 0, 1 << SEQUENCE_BITS, b"nonsense")
    put(bus, [minute(1, (0.7, 0.5))], first=1)

    assert give_all(bus, server.url)["unreadable"] == 1
    assert len(given(bus)) == 1


def test_instruments_of_a_larger_universe_before_are_counted_and_the_others_decided(
    server: RedisServer, bus: Bus
) -> None:
    rows = minute(1, (0.7, 0.7))
    rows["instrument"][1] = 99
    put(bus, [rows])

    assert give_all(bus, server.url)["unreadable"] == 1
    assert [entries.decode(p, SIGNAL)["instrument"].tolist() for _, p in given(bus)] == [[0]]


@pytest.mark.parametrize("state", [b"", b"of another universe"])
def test_a_snapshot_of_a_log_that_is_gone_or_of_others_is_left(server: RedisServer, bus: Bus, state: bytes) -> None:
    put(bus, [minute(1, (0.7, 0.5))])
    bus.save("signals", 0, bus.last("scores", 0) + (1 if not state else -1), state)

    assert give_all(bus, server.url)["buy"] == 1


def test_an_index_is_given_no_signal(server: RedisServer, bus: Bus) -> None:
    share, index = OF[0], OF[1].model_copy(update={"kind": Kind.INDEX})
    put(bus, [minute(k, (0.9, 0.9)) for k in range(4)])

    shell = give_all(bus, server.url, instruments=(share, index))

    rows = np.concatenate([entries.decode(payload, SIGNAL) for _, payload in given(bus)])
    assert set(rows["instrument"].tolist()) == {share.id}
    assert shell["buy"] == 1
