"""Corrections: a repaired day is the day nothing happened to, wherever the log is cut and whenever the repair comes."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import CANDLE, NO_CANDLES, Candles, Provenance, newest_revisions
from market.corrections import PROPOSED, patches, revised
from market.fold import CandleBuilder
from market.money import UNKNOWN
from market.sessions import MINUTE, SECOND, Sessions, day_number, session
from market.ticks import FeedState, Ticks, blank, mark

DAY = session(date(2016, 8, 25), closes=time(9, 37))
NEXT = session(date(2016, 8, 26), closes=time(9, 37))
CALENDAR = Sessions([DAY, NEXT]).table()
LENGTH = int((DAY.close - DAY.open) // SECOND)
STEP = 10
WHO = (3, 7)
FACTS = ("instrument", "interval", "start", "open", "high", "low", "close", "volume", "completeness")
Log = list[np.ndarray]


def tick(second: int, instrument: int, price: int, volume: int) -> Ticks:
    row = blank(1)
    row["instrument"] = instrument
    row["at"] = row["received"] = DAY.open + second * SECOND
    row["price"], row["day_volume"] = price, volume
    return row


def live(second: int) -> Ticks:
    return mark(0, FeedState.LIVE, DAY.open + second * SECOND)


def day(seed: int, outage: range = range(0)) -> Log:
    """The entries of a session, one every ten seconds; in the outage nothing comes, behind it the feed says so."""
    rng = np.random.default_rng(seed)
    log: Log = [live(-20)]
    volumes = dict.fromkeys(WHO, 0)
    busy = {who: rng.random(LENGTH // 60) < share for who, share in zip(WHO, (0.9, 0.3), strict=True)}
    for first in range(0, LENGTH + 20, STEP):
        rows = []
        for second in range(first, min(first + STEP, LENGTH), 3):
            for who in WHO:
                if second < 9 or (busy[who][second // 60] and rng.random() < 0.7):
                    volumes[who] += int(rng.integers(1, 50))
                    rows.append((second, tick(second, who, int(rng.integers(100, 130)) * 100, volumes[who])))
        if first in outage:
            continue
        if outage and first == outage.stop:
            down = mark(0, FeedState.MUTE, DAY.open + first * SECOND, DAY.open + outage.start * SECOND)
            log.append(np.concatenate([down, live(first)]))
        log.append(np.concatenate([*(row for _, row in rows), live(first + STEP)]))
    return log


def play(log: Log, cuts: frozenset[int] = frozenset(), lag: int = 3) -> list[Candles]:
    """What each entry of a log publishes; at a cut the builder dies and one begins at an older snapshot."""
    out: list[Candles] = []
    builder, kept = CandleBuilder(WHO, CALENDAR), (0, CandleBuilder(WHO, CALENDAR).snapshot())
    at = 0
    while at < len(log):
        published = apply(builder, log[at], out[:at])
        if at == len(out):
            out.append(published)
        at += 1
        if at % lag == 0:
            kept = (at, builder.snapshot())
        if at in cuts:
            cuts -= {at}
            builder = CandleBuilder(WHO, CALENDAR)
            builder.restore(kept[1])
            at = kept[0]
    return out


def apply(builder: CandleBuilder, entry: np.ndarray, before: list[Candles]) -> Candles:
    if entry.dtype == CANDLE:
        return builder.repair(entry, np.concatenate([NO_CANDLES, *before]))
    return builder.step(entry)


def newest(out: list[Candles]) -> Candles:
    return newest_revisions(np.concatenate(out))


def truth(seed: int) -> Candles:
    return newest(play(day(seed)))


def repair(seen: Candles, vendor: Candles) -> Candles:
    """An entry that proposes the vendor's candle for every minute that is not whole."""
    minutes = seen[(seen["interval"] == 60) & (seen["completeness"] < 1)]
    theirs = vendor[(vendor["interval"] == 60) & (vendor["open"] != UNKNOWN)]
    key = ["instrument", "start"]
    wanted = set(minutes[key].tolist())
    rows = theirs[[k in wanted for k in theirs[key].tolist()]].copy()
    rows["revision"], rows["provenance"], rows["completeness"] = PROPOSED, Provenance.REPAIRED, 1.0
    rows["trades"] = np.where(rows["volume"] == 0, 0, UNKNOWN)
    rows["vwap"] = UNKNOWN
    return rows


def assert_same_facts(found: Candles, expected: Candles) -> None:
    for name in FACTS:
        assert found[name].tolist() == expected[name].tolist(), name


OUTAGES = st.tuples(st.integers(1, LENGTH // STEP - 8), st.integers(1, 30)).map(
    lambda t: range(t[0] * STEP, min((t[0] + t[1]) * STEP, LENGTH - 3 * STEP), STEP)
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), OUTAGES, st.data())
def test_a_repaired_day_is_the_day_without_an_outage(seed: int, outage: range, data: st.DataObject) -> None:
    expected = truth(seed)
    log = day(seed, outage)
    early = data.draw(st.integers(outage.start // STEP + 2, len(log)))
    log.insert(early, repair(newest(play(log[:early])), expected))
    log.append(repair(newest(play(log)), expected))

    found = newest(play(log))

    assert_same_facts(found, expected)
    assert (found["provenance"] == Provenance.REPAIRED).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), OUTAGES, st.data())
def test_any_cut_and_restart_publishes_the_same(seed: int, outage: range, data: st.DataObject) -> None:
    log = day(seed, outage)
    for _ in range(2):
        at = data.draw(st.integers(outage.start // STEP + 2, len(log)))
        log.insert(at, repair(newest(play(log[:at])), truth(seed)))
    cuts = data.draw(st.frozensets(st.integers(1, len(log)), max_size=4))

    found = play(log, cuts, lag=data.draw(st.integers(1, 12)))

    assert [rows.tobytes() for rows in found] == [rows.tobytes() for rows in play(log)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), OUTAGES, st.data())
def test_a_repair_that_comes_twice_changes_nothing(seed: int, outage: range, data: st.DataObject) -> None:
    log = day(seed, outage)
    at = data.draw(st.integers(outage.start // STEP + 2, len(log)))
    one = repair(newest(play(log[:at])), truth(seed))
    once = [*log[:at], one, *log[at:]]
    again = data.draw(st.integers(at + 1, len(once)))

    out = play([*once[:again], one, *once[again:]])

    assert len(out.pop(again)) == 0
    assert [rows.tobytes() for rows in out] == [rows.tobytes() for rows in play(once)]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), OUTAGES)
def test_no_candle_is_published_twice_under_one_revision(seed: int, outage: range) -> None:
    log = day(seed, outage)
    log.append(repair(newest(play(log)), truth(seed)))

    rows = np.concatenate(play(log))
    keys = rows[["instrument", "interval", "start", "revision"]].tolist()

    assert len(set(keys)) == len(keys)


def test_the_minute_that_holds_the_outages_volume_says_that_it_is_not_whole() -> None:
    builder = CandleBuilder([3], CALENDAR)
    down = mark(0, FeedState.MUTE, DAY.open + 120 * SECOND, DAY.open + 60 * SECOND)
    log = [
        live(-20),
        tick(1, 3, 10_000, 50),
        live(60),
        down,
        live(120),
        live(300),
        tick(310, 3, 10_100, 900),
        live(365),
    ]

    rows = builder.step(np.concatenate(log))

    minutes = rows[rows["interval"] == 60]
    assert minutes["volume"].tolist() == [50, 0, 0, 0, 0, 850]
    assert minutes["completeness"].round(3).tolist() == [1, 0, 1, 1, 1, round(50 / 60, 3)]


def test_a_packet_with_the_old_total_proves_that_nothing_was_traded_meanwhile() -> None:
    builder = CandleBuilder([3], CALENDAR)
    down = mark(0, FeedState.MUTE, DAY.open + 120 * SECOND, DAY.open + 60 * SECOND)
    shown_again = tick(1, 3, 10_000, 50)
    log = [live(-20), shown_again, live(60), down, live(120), shown_again, tick(310, 3, 10_100, 900), live(365)]

    rows = builder.step(np.concatenate(log))

    assert rows[rows["interval"] == 60]["completeness"].tolist() == [1, 0, 1, 1, 1, 1]


def candle(start: int, price: int, **more: int) -> Candles:
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"], row["start"], row["session"] = 3, 60, start, day_number(DAY.date)
    for name in ("open", "high", "low", "close"):
        row[name] = price
    row["vwap"] = row["open_interest"] = UNKNOWN
    row["volume"], row["trades"], row["completeness"] = 10, UNKNOWN, 1.0
    row["provenance"], row["revision"] = Provenance.REPAIRED, PROPOSED
    for name, value in more.items():
        row[name] = value
    return row


@pytest.mark.parametrize(
    "wrong",
    [
        candle(DAY.open + 1, 100),
        candle(DAY.open - MINUTE, 100),
        candle(DAY.close, 100),
        candle(DAY.open + 9 * MINUTE, 100),
        candle(DAY.open, 0),
        candle(DAY.open, 100, low=101),
        candle(DAY.open, 100, volume=-1),
        candle(DAY.open, 100, provenance=Provenance.LIVE),
    ],
)
def test_what_is_no_closed_minute_or_no_candle_is_refused(wrong: Candles) -> None:
    found, refused = patches(wrong, NO_CANDLES, CALENDAR, DAY.open + 9 * MINUTE)

    assert (found, refused) == ([], 1)


def test_a_session_nobody_recorded_is_made_whole_and_what_the_vendor_lacks_is_a_gap() -> None:
    builder = CandleBuilder([3], CALENDAR)
    builder.step(mark(0, FeedState.LIVE, NEXT.open - SECOND))

    rows = builder.repair(np.concatenate([candle(DAY.open, 100), candle(DAY.open + 5 * MINUTE, 90)]), NO_CANDLES)

    minutes, rolled = rows[rows["interval"] == 60], rows[rows["interval"] == 86_400]
    assert len(minutes) == DAY.minutes
    assert minutes["provenance"].tolist().count(Provenance.GAP) == DAY.minutes - 2
    assert set(rows["revision"].tolist()) == {1}
    assert [int(rolled[n][0]) for n in ("open", "high", "low", "close", "volume")] == [100, 100, 90, 90, 20]
    assert rolled["completeness"][0] == pytest.approx(2 / DAY.minutes)


def test_what_the_writer_saw_stands_in_for_candles_the_bus_has_forgotten() -> None:
    builder = CandleBuilder([3], CALENDAR)
    builder.step(mark(0, FeedState.LIVE, NEXT.open - SECOND))
    seen = [candle(s, 100, revision=4) for s in range(DAY.open, DAY.close, MINUTE)]

    rows = builder.repair(np.concatenate([*seen, candle(DAY.open, 120)]), NO_CANDLES)

    assert rows[rows["interval"] == 60][["start", "high", "revision"]].tolist() == [(DAY.open, 120, 5)]
    assert rows[rows["interval"] == 86_400]["volume"].tolist() == [10 * DAY.minutes]


def test_a_proposal_that_changes_nothing_makes_no_revision() -> None:
    known = candle(DAY.open, 100, revision=2)

    assert len(revised(known, known)) == 0
    assert revised(candle(DAY.open, 101), known)["revision"].tolist() == [3]


def test_a_quiet_minute_behind_an_imported_one_carries_that_ones_price() -> None:
    known = np.zeros(DAY.minutes, CANDLE)
    known["instrument"], known["interval"], known["session"] = 3, 60, day_number(DAY.date)
    known["start"], known["provenance"] = DAY.open + np.arange(DAY.minutes) * MINUTE, Provenance.LIVE
    for name in ("open", "high", "low", "close"):
        known[name] = 1_000_000
    known["volume"], known["trades"], known["completeness"] = 5, 2, 1.0
    known["provenance"][3], known["trades"][3] = Provenance.IMPORTED, UNKNOWN
    known["trades"][4], known["volume"][4] = 0, 0
    repaired = known[2:3].copy()
    repaired["provenance"], repaired["revision"] = Provenance.REPAIRED, PROPOSED
    for name in ("open", "high", "low", "close"):
        repaired[name] = 1_100_000

    [patch], refused = patches(repaired, known, CALENDAR, DAY.close)

    assert refused == 0
    assert np.flatnonzero(patch.changed[0]).tolist() == [2]
    assert patch.rows["close"][0, 2:5].tolist() == [1_100_000, 1_000_000, 1_000_000]
