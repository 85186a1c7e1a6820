"""Analysis: one stream of features, whoever computes it and however often, equal to those in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from actors.analysis import Analysis
from actors.archive import Archive
from actors.plans import AnalysisPlan, ArchivePlan, BusPlan
from adapters import entries
from adapters.actions import add
from adapters.bus import Bus, Entry
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.redis_line import RedisLine
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table, feature_values
from market.actions import Action
from market.actions import Kind as ActionKind
from market.candles import CANDLE, Candles, Provenance
from market.features import (
    FEATURE,
    FEATURES,
    NAMES,
    PARTS,
    SET,
    Factors,
    FeatureRows,
    Unknown,
    compute,
    market_of,
    members_of,
    sums,
)
from market.sessions import MINUTE, Sessions, session
from tests.actors.day import SESSION, Running, candles_on, fold_everything, instruments, log, play

PARTITIONS = 2
OF = instruments()
YESTERDAY = session(date(2016, 8, 24))
SESSIONS = (YESTERDAY, SESSION)
SCALES = np.array([f.scale for f in FEATURES])


@pytest.fixture
def raw(server: RedisServer) -> Iterator[RedisLine]:
    """A line to what stands on the server."""
    line = RedisLine(server.url)
    yield line
    line.close()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake that holds yesterday's candles."""
    path = tmp_path / "lake"
    Lake(str(path)).append("candles", candle_table(yesterday(), [i.symbol for i in OF]), {"test": 1})
    return path


@pytest.fixture
def played(server: RedisServer, bus: Bus, tmp_path: Path) -> list[list[Entry]]:
    """The day's candle entries, by partition; they stand on the bus."""
    asyncio.run(play(server.url, tmp_path, PARTITIONS))
    fold_everything(bus, server.url, PARTITIONS)
    return [log(bus, "candles", p) for p in range(PARTITIONS)]


def yesterday() -> Candles:
    """A walk of every instrument through all of yesterday, seeded, and its daily candles."""
    rng = np.random.default_rng(24)
    starts = YESTERDAY.open + np.arange(YESTERDAY.minutes) * MINUTE
    rows = np.zeros((len(OF), len(starts) + 1), CANDLE)
    rows["instrument"] = np.arange(len(OF))[:, None]
    rows["interval"], rows["start"] = 60, np.append(starts, YESTERDAY.open)
    close = 1_000_000 + rng.integers(-900, 901, (len(OF), len(starts))).cumsum(axis=1)
    minutes, days = rows[:, :-1], rows[:, -1]
    minutes["close"], minutes["open"] = close, np.roll(close, 1, axis=1)
    minutes["high"], minutes["low"] = close + 1500, close - 1500
    minutes["volume"] = rng.integers(10, 5000, close.shape)
    days["interval"], days["open"], days["close"] = 86400, minutes["open"][:, 0], close[:, -1]
    days["high"], days["low"] = minutes["high"].max(axis=1), minutes["low"].min(axis=1)
    days["volume"] = minutes["volume"].sum(axis=1)
    rows["vwap"], rows["trades"], rows["completeness"] = rows["close"], 3, 1.0
    rows["provenance"], rows["session"] = Provenance.LIVE, (YESTERDAY.date - date(1970, 1, 1)).days
    return rows.ravel()


def plan(bus: str, lake: Path, **more: Any) -> AnalysisPlan:
    """What an Analysis of all partitions is told."""
    told: dict[str, Any] = {
        "bus": bus, "cache": bus, "partitions": PARTITIONS, "instruments": OF, "sessions": SESSIONS,
        "lake": str(lake), "mine": tuple(range(PARTITIONS)), "patience": None, "ask_seconds": 60.0,
        "log_level": "critical",
    }  # fmt: skip
    return AnalysisPlan(**{**told, **more})


def caught_up(analysis: Analysis, bus: Bus) -> bool:
    """Whether everything on the bus is done."""
    said = analysis.health()["partitions"]
    ends = {str(p): bus.last("candles", p) for p in range(PARTITIONS)}
    return {p: one["read"] for p, one in said.items()} == ends and not any(one["waiting"] for one in said.values())


def analyse_everything(bus: Bus, url: str, lake: Path, **more: Any) -> dict[str, Any]:
    """One Analysis from where it stands to the end of the log; its last health."""
    analysis = Analysis(plan(url, lake, **more))
    one = Running(analysis)
    one.wait(lambda: caught_up(analysis, bus))
    one.stop()
    return analysis.health()


def stream(bus: Bus) -> list[tuple[int, int, bytes]]:
    """Every output entry: partition, id, bytes."""
    return [(p, e.id, e.payload) for p in range(PARTITIONS) for e in log(bus, "analysis", p)]


def features_on(bus: Bus) -> FeatureRows:
    """The features on the bus by instrument and start."""
    rows = np.concatenate([entries.decode(payload, FEATURE) for _, _, payload in stream(bus)])
    return rows[np.lexsort((rows["start"], rows["instrument"]))]


def in_bulk(candles: Candles, split: dict[int, float] | None = None) -> FeatureRows:
    """What these candles come to, all of them at once. `split`: by what yesterday's prices are multiplied, by id."""
    table, members = Sessions(SESSIONS).table(), members_of(OF)
    minutes, days = candles[candles["interval"] == 60], candles[candles["interval"] == 86400]
    of = [(minutes[minutes["instrument"] == i.id], days[days["instrument"] == i.id]) for i in OF]
    by = [[adjusted_by((split or {}).get(i.id, 1.0), rows) for rows in pair] for i, pair in zip(OF, of, strict=True)]
    both = list(zip(of, by, strict=True))
    market = market_of([sums(*pair, members, table, *one) for pair, one in both], members)
    return np.concatenate([compute(*pair, market, table, *one) for pair, one in both])


def adjusted_by(factor: float, rows: Candles) -> Factors:
    """Factors for prices before today."""
    price = np.where(rows["start"] < SESSION.open, factor, 1.0)
    return Factors(price, 1 / price)


def worst(live: FeatureRows, bulk: FeatureRows) -> float:
    """The largest difference over what is its measure; the same rows, known alike."""
    for name in ("instrument", "start", "session", "unknown"):
        assert live[name].tolist() == bulk[name].tolist()
    a, b = live["values"], bulk["values"]
    assert (np.isnan(a) == np.isnan(b)).all()
    return float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), SCALES)))


def put(raw: RedisLine, topic: str, partition: int, rows: list[Entry]) -> None:
    """Entries under the ids they had."""
    for e in rows:
        raw.call("XADD", f"{topic}:{{{partition}}}", f"{e.id >> 20}-{e.id & (1 << 20) - 1}", "d", e.payload)


def cut(raw: RedisLine, played: list[list[Entry]], kept: list[int]) -> None:
    """Leave the first candle entries of each partition, and nothing that followed from them."""
    for p, all_of_it in enumerate(played):
        raw.call("DEL", f"candles:{{{p}}}", f"analysis:{{{p}}}", f"snapshot:analysis:{{{p}}}")
        put(raw, "candles", p, all_of_it[: kept[p]])


def test_every_minute_has_the_features_that_bulk_gives_it(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    said = analyse_everything(bus, server.url, lake)

    live = features_on(bus)
    bulk = in_bulk(np.concatenate([yesterday(), candles_on(bus, PARTITIONS)]))
    today = bulk[bulk["start"] >= SESSION.open]
    assert len(live) == len(OF) * SESSION.minutes
    assert worst(live, today) <= 1e-9
    assert np.isfinite(live["values"][:, [NAMES.index(n) for n in ("rsi_14_1m", "gap", "breadth_day")]]).all()
    assert sum(p["rows"] for p in said["partitions"].values()) == len(live)


def test_the_first_to_begin_owes_the_session_from_its_opening_though_the_lake_has_some_of_it(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    cut(raw, played, [5, 4])
    rows = candles_on(bus, PARTITIONS)
    ends = {f"{bus.identity()}:candles:{p}": bus.last("candles", p) for p in range(PARTITIONS)}
    Lake(str(lake)).append("candles", candle_table(rows, [i.symbol for i in OF]), ends)
    for p, kept in enumerate([5, 4]):
        put(raw, "candles", p, played[p][kept:])

    analyse_everything(bus, server.url, lake)

    live, bulk = features_on(bus), in_bulk(np.concatenate([yesterday(), candles_on(bus, PARTITIONS)]))
    assert len(live) == len(OF) * SESSION.minutes
    assert worst(live, bulk[bulk["start"] >= SESSION.open]) <= 1e-9


@pytest.mark.parametrize("kept", [[0, 0], [1, 3], [5, 5], [9, 6]])
def test_a_restart_in_the_middle_gives_the_same_stream(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]], kept: list[int]
) -> None:
    analyse_everything(bus, server.url, lake)
    undisturbed = stream(bus)
    cut(raw, played, kept)

    first = Analysis(plan(server.url, lake))
    one = Running(first)
    due = min(kept)
    one.wait(lambda: sum(p["minutes"] for p in first.health()["partitions"].values()) >= 2 * due)
    one.stop()
    halfway = stream(bus)
    for p in range(PARTITIONS):
        put(raw, "candles", p, played[p][kept[p] :])
    analyse_everything(bus, server.url, lake)

    assert len(undisturbed) == 2 * SESSION.minutes
    assert len(halfway) == 2 * due
    assert stream(bus) == undisturbed


def test_a_minute_that_was_published_without_a_partition_stays_so(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    whole = np.concatenate([yesterday(), candles_on(bus, PARTITIONS)])
    cut(raw, played, [6, 2])
    analysis = Analysis(plan(server.url, lake, patience=2 * MINUTE))
    one = Running(analysis)
    one.wait(lambda: bus.last("analysis", 0) == played[0][3].id)
    one.stop()
    early = stream(bus)
    for p in range(PARTITIONS):
        put(raw, "candles", p, played[p][[6, 2][p] :])

    said = analyse_everything(bus, server.url, lake)

    live, bulk = features_on(bus), in_bulk(whole)
    lone = np.isin(live["instrument"], entries.decode(played[0][0].payload, CANDLE)["instrument"])
    lone &= np.isin(live["start"], SESSION.open + np.array([2, 3]) * MINUTE)
    assert [entry for entry in stream(bus) if entry in early] == early
    assert said["partitions"]["0"]["given_up"] == 0  # decided by the one before
    assert (live["unknown"][lone] == Unknown.PARTIAL).all() and not live["unknown"][~lone].any()
    assert np.isnan(live["values"][lone, PARTS["market"]]).all()
    own = live["values"][:, : PARTS["market"].start], bulk["values"][bulk["start"] >= SESSION.open]
    assert np.array_equal(np.isnan(own[0]), np.isnan(own[1][:, : PARTS["market"].start]))
    assert worst(live[~lone], bulk[bulk["start"] >= SESSION.open][~lone]) <= 1e-9


def test_a_gap_and_what_is_corrected_later_leave_live_equal_to_bulk(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    logs_of = [mended(played[0]), played[1]]
    cut(raw, logs_of, [len(log_of) for log_of in logs_of])

    analyse_everything(bus, server.url, lake)

    live, candles = features_on(bus), np.concatenate([yesterday(), candles_on(bus, PARTITIONS)])
    own = np.isin(live["instrument"], entries.decode(played[0][0].payload, CANDLE)["instrument"])
    gap, later = live["start"] == SESSION.open + 4 * MINUTE, live["start"] > SESSION.open + 6 * MINUTE
    before, after = in_bulk(candles[candles["revision"] == 0]), in_bulk(candles)
    before, after = (rows[rows["start"] >= SESSION.open] for rows in (before, after))
    assert (live["unknown"][gap & own] == Unknown.GAP).all() and np.isnan(live["values"][gap & own]).all()
    assert worst(live[~later], before[~later]) <= 1e-9
    assert worst(live[later], after[later]) <= 1e-9
    assert worst(before[later], after[later]) > 1e-6


@pytest.mark.parametrize("kept", [[5, 5], [8, 7], [9, 7], [8, 9]])
def test_a_restart_among_gaps_and_corrections_gives_the_same_stream(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]], kept: list[int]
) -> None:
    logs_of = [mended(played[0]), mended(played[1])]
    cut(raw, logs_of, [len(log_of) for log_of in logs_of])
    analyse_everything(bus, server.url, lake)
    undisturbed = stream(bus)
    cut(raw, logs_of, kept)

    analysis = Analysis(plan(server.url, lake))
    one = Running(analysis)
    one.wait(lambda: len(stream(bus)) >= 2 * min(kept[0] - (kept[0] > 7), kept[1] - (kept[1] > 7)))
    one.stop()
    for p in range(PARTITIONS):
        put(raw, "candles", p, logs_of[p][kept[p] :])
    analyse_everything(bus, server.url, lake)

    assert len(undisturbed) == 2 * SESSION.minutes
    assert stream(bus) == undisturbed


def test_a_bus_that_went_back_is_followed_again(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    analyse_everything(bus, server.url, lake)
    undisturbed = stream(bus)
    rows = [candles_of(entries_of) for entries_of in played]
    ends = {f"{bus.identity()}:candles:{p}": played[p][-1].id for p in range(PARTITIONS)}
    Lake(str(lake)).append("candles", candle_table(np.concatenate(rows), [i.symbol for i in OF]), ends)
    raw.call("DEL", "snapshot:analysis:{0}", "snapshot:analysis:{1}")
    analyse_everything(bus, server.url, lake)  # its basis holds the day
    for p in range(PARTITIONS):
        raw.call("DEL", f"candles:{{{p}}}", f"analysis:{{{p}}}")

    analysis = Analysis(plan(server.url, lake))
    one = Running(analysis)
    one.wait(lambda: "log that is gone" in analysis.health()["trouble"])
    Lake(str(lake)).rewind("candles", dict.fromkeys(ends, 0))
    for p in range(PARTITIONS):
        put(raw, "candles", p, played[p])
    one.wait(lambda: caught_up(analysis, bus))
    one.stop()

    assert stream(bus) == undisturbed


def test_the_latest_row_of_every_instrument_is_in_the_read_model(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    analyse_everything(bus, server.url, lake)

    live = features_on(bus)
    for one in OF:
        row = live[(live["instrument"] == one.id) & (live["start"] == SESSION.close - MINUTE)][0]
        found = ReadModel(server.url).feature(one.symbol)
        assert found is not None and found["start"] == SESSION.close - MINUTE and found["symbol"] == one.symbol
        told = np.array([np.nan if v is None else v for v in found["values"].values()])
        assert np.array_equal(told, row["values"], equal_nan=True)


def test_archive_carries_the_features_into_the_lake_each_row_once(
    server: RedisServer, bus: Bus, raw: RedisLine, lake: Path, played: list[list[Entry]]
) -> None:
    analyse_everything(bus, server.url, lake)
    live = features_on(bus)
    strange = bytes([*stream(bus)[0][2][:8], 1, 2, 3, 4])
    raw.call("XADD", "analysis:{0}", f"{(bus.last('analysis', 0) >> 20) + 1}-0", "d", strange)

    told = {name: getattr(plan(server.url, lake), name) for name in BusPlan.model_fields}
    for _ in range(2):
        archive = Archive(ArchivePlan(**told, lake=str(lake), feeds=("a",), commit_seconds=0.0, tables=("analysis",)))
        one = Running(archive)
        ends = {str(p): bus.last("analysis", p) for p in range(PARTITIONS)}
        one.wait(lambda: archive.health()["tables"].get("analysis", {}).get("committed") == ends)  # noqa: B023
        one.stop()

    assert archive.health()["tables"]["analysis"]["unreadable"] == 0  # it began behind the strange one
    rows = DeltaTable(str(lake / "features")).to_pyarrow_table()
    rows = rows.sort_by([("symbol", "ascending"), ("start", "ascending")])
    order = np.lexsort((live["start"], np.array([OF[i].symbol for i in live["instrument"]])))
    assert rows["symbol"].to_pylist() == [OF[i].symbol for i in live["instrument"][order]]
    assert (rows["start"].cast("int64").to_numpy() * 1000 == live["start"][order]).all()
    assert np.array_equal(feature_values(rows, NAMES), live["values"][order], equal_nan=True)
    assert set(rows["set"].to_pylist()) == {SET} and rows["run"].null_count == len(rows) == len(live)


def mended(log_of: list[Entry]) -> list[Entry]:
    """A log in which nobody saw the fifth minute, and which puts it right behind the seventh."""
    holed = [with_gap(entry) if k == 4 else entry for k, entry in enumerate(log_of)]
    late = Entry(holed[6].id + 1, holed[6].partition, "", -1, entries.encode(repaired(log_of[4])))
    return [*holed[:7], late, *holed[7:]]


def candles_of(rows: list[Entry]) -> Candles:
    return np.concatenate([entries.decode(e.payload, CANDLE) for e in rows])


def with_gap(entry: Entry) -> Entry:
    """The same entry, its minute seen by nobody."""
    rows = entries.decode(entry.payload, CANDLE)
    minute = rows["interval"] == 60
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name][minute] = -(2**63)
    rows["volume"][minute] = rows["trades"][minute] = rows["completeness"][minute] = 0
    rows["provenance"][minute] = Provenance.GAP
    return Entry(entry.id, entry.partition, "", -1, entries.encode(rows))


def repaired(entry: Entry) -> Candles:
    """The entry's minute as a correction."""
    rows = entries.decode(entry.payload, CANDLE)
    rows = rows[rows["interval"] == 60]
    rows["revision"], rows["provenance"] = 1, Provenance.REPAIRED
    return rows


def test_a_split_known_by_the_open_leaves_no_trace_and_live_equal_to_bulk(
    server: RedisServer, bus: Bus, lake: Path, played: list[list[Entry]]
) -> None:
    told = Action(
        symbol=OF[0].symbol, kind=ActionKind.SPLIT, ex_date=SESSION.date, factor=Fraction(1, 5), known=YESTERDAY.open,
        recorded=YESTERDAY.open, source="test",
    )  # fmt: skip
    add(Lake(str(lake)), [told])

    analyse_everything(bus, server.url, lake)

    live = features_on(bus)
    candles = np.concatenate([yesterday(), candles_on(bus, PARTITIONS)])
    raw, split = in_bulk(candles), in_bulk(candles, {0: 0.2})
    raw, split = (rows[rows["start"] >= SESSION.open] for rows in (raw, split))
    assert worst(live, split) <= 1e-9
    assert worst(live[live["instrument"] == 0], raw[raw["instrument"] == 0]) > 1e-3
