"""The check of a market that does not wait: what is right passes, and nothing that is wrong is explained away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from deltalake import write_deltalake

from cluster.chaos.check import Finding, Outages, check_mended, check_received
from cluster.chaos.market import OPEN, PRICES

MINUTES = 8
MINUTE = pd.Timedelta(minutes=1)
GRACE = pd.Timedelta(seconds=2)
ONE = "NSE:ONE"

Lake = dict[str, pd.DataFrame]


def at(minute: int) -> pd.Timestamp:
    return OPEN + minute * MINUTE


def packets() -> pd.DataFrame:
    """Two shares, a packet every ten seconds; prices in 1/10,000."""
    rows = [
        (symbol, OPEN + pd.Timedelta(seconds=s), 1_000_000 + 500 * ((7 * k + offset) % 13), 10 * (k + 1))
        for offset, symbol in enumerate((ONE, "NSE:TWO"))
        for k, s in enumerate(range(1, 60 * MINUTES, 10))
    ]
    return pd.DataFrame(rows, columns=["symbol", "at", "price", "day_volume"])


def folded(sent: pd.DataFrame) -> pd.DataFrame:
    """The candles of these packets: minutes, and all of them together as one of a day."""
    found = []
    for interval, start in (("1m", sent["at"].dt.floor("min")), ("1d", OPEN)):
        rows = sent.assign(start=start).groupby(["symbol", "start"]).agg(
            open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
            total=("day_volume", "max"), trades=("price", "size"),
        )  # fmt: skip
        rows["volume"] = rows["total"] - rows.groupby(level="symbol")["total"].shift(1).fillna(0).astype("int64")
        found.append(rows.drop(columns="total").reset_index().assign(interval=interval))
    return pd.concat(found, ignore_index=True).assign(revision=0, completeness=1.0, provenance="LIVE")


def whole() -> Lake:
    sent = packets()
    stamps = {"received": sent["at"], "sequence": range(len(sent))}
    return {"sent": sent, "ticks": sent.assign(**stamps), "candles": folded(sent)}


def written(folder: Path, lake: Lake) -> Path:
    for name, columns in (("ticks", ["price"]), ("candles", PRICES)):
        rows = lake[name].copy()
        rows[columns] = rows[columns].astype("Float64") / 10_000
        write_deltalake(str(folder / name), rows, mode="overwrite")
    return folder


def said(folder: Path, lake: Lake, outages: Outages | None = None, **injected: int) -> str:
    finding = Finding()
    args = (packets(), OPEN, MINUTES, GRACE, outages or Outages([]), injected, finding)
    check_received(written(folder, lake), *args)
    return "; ".join(finding.differences)


def of(lake: Lake, minute: int, interval: str = "1m") -> pd.Series:
    rows = lake["candles"]
    return (rows["symbol"] == ONE) & (rows["start"] == at(minute)) & (rows["interval"] == interval)


def set_(lake: Lake, minute: int, **values: object) -> Lake:
    for name, value in values.items():
        lake["candles"].loc[of(lake, minute), name] = value
    return lake


def without(lake: Lake, table: str, rows: Callable[[pd.DataFrame], pd.Series]) -> Lake:
    return lake | {table: lake[table][~rows(lake[table])]}


def damaged(lake: Lake, second: int, **values: int) -> Lake:
    ticks = lake["ticks"].copy()
    hit = (ticks["symbol"] == ONE) & (ticks["at"] == OPEN + pd.Timedelta(seconds=second))
    assert hit.sum() == 1
    for name, value in values.items():
        ticks.loc[hit, name] = value
    return lake | {"ticks": ticks}


def test_a_lake_that_is_as_it_was_sent_is_found_so(tmp_path: Path) -> None:
    assert said(tmp_path, whole()) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: set_(t, 3, high=9_999_999), "another high than their ticks"),
        (lambda t: set_(t, 3, volume=7), "another volume than their ticks"),
        (lambda t: set_(t, 3, completeness=0.5), "not whole without an outage"),
        (lambda t: set_(t, 3, revision=1), "corrected without a cause"),
        (lambda t: without(t, "candles", lambda c: of(t, 3)), "minutes missing"),
        (lambda t: t | {"candles": pd.concat([t["candles"], t["candles"][of(t, 3)]])}, "stand there twice"),
        (lambda t: damaged(t, 61, price=777), "ticks invented"),
        (lambda t: without(t, "ticks", lambda r: r["at"] == at(2) + pd.Timedelta(seconds=11)), "moments lost"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: Callable[[Lake], Lake], says: str) -> None:
    assert says in said(tmp_path, change(whole()))


def test_an_outage_explains_a_minute_that_is_not_whole_and_no_other(tmp_path: Path) -> None:
    outages = Outages([(at(3) + pd.Timedelta(seconds=20), at(3) + pd.Timedelta(seconds=40))])

    assert said(tmp_path, set_(whole(), 3, completeness=0.6), outages) == ""
    assert "not whole" in said(tmp_path, set_(whole(), 6, completeness=0.6), outages)


def test_a_damaged_packet_excuses_the_minutes_beside_it_and_none_behind_them(tmp_path: Path) -> None:
    spike = damaged(whole(), 61, day_volume=1 << 31)

    beside = set_(damaged(whole(), 61, day_volume=1 << 31), 1, completeness=0.5)
    poisoned = set_(spike, 6, volume=0)

    assert said(tmp_path, beside, corrupt=1) == ""
    assert "another volume" in said(tmp_path, poisoned, corrupt=1)
    assert "ticks invented" in said(tmp_path, beside)


def test_a_dropped_frame_excuses_what_it_carried_and_no_more(tmp_path: Path) -> None:
    lost = OPEN + pd.Timedelta(seconds=131)
    kept = packets()[packets()["at"] != lost]
    lake = whole() | {"candles": folded(kept)}

    assert said(tmp_path, without(lake, "ticks", lambda r: r["at"] == lost), drop=1) == ""
    more = without(lake, "ticks", lambda r: r["at"].isin([lost, lost + pd.Timedelta(seconds=10)]))
    assert said(tmp_path, more, drop=1) != ""


def repaired(lake: Lake, minute: int, **values: object) -> Lake:
    """The minute was not whole, and the vendor's candle stands beside it."""
    row = lake["candles"][of(lake, minute)].assign(revision=1, provenance="REPAIRED", trades=None, **values)
    told = set_(lake, minute, completeness=0.5, volume=1)["candles"]
    return lake | {"candles": pd.concat([told, row], ignore_index=True)}


def mended(folder: Path, lake: Lake) -> str:
    finding, truth = Finding(), folded(packets()).assign(traded=True)
    check_mended(written(folder, lake), truth, at(MINUTES), finding)
    return "; ".join(finding.differences)


def test_a_repair_that_equals_what_was_sent_is_right(tmp_path: Path) -> None:
    assert mended(tmp_path, repaired(whole(), 3)) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: repaired(whole(), 3, volume=1), "repaired minutes with another volume"),
        (lambda: repaired(whole(), 3, high=9_999_999), "repaired minutes with another high"),
        (lambda: set_(whole(), 3, completeness=0.5), "that the vendor has, not repaired"),
        (lambda: needless(whole(), 3), "whole minutes corrected"),
        (lambda: longer(whole(), volume=3), "longer candles with another volume"),
    ],
)
def test_a_repair_that_is_wrong_is_said(tmp_path: Path, change: Callable[[], Lake], says: str) -> None:
    assert says in mended(tmp_path, change())


def needless(lake: Lake, minute: int) -> Lake:
    row = lake["candles"][of(lake, minute)].assign(revision=1, provenance="REPAIRED")
    return lake | {"candles": pd.concat([lake["candles"], row], ignore_index=True)}


def longer(lake: Lake, **values: object) -> Lake:
    for name, value in values.items():
        lake["candles"].loc[of(lake, 0, "1d"), name] = value
    return lake
