"""Check: what a lake holds against what it must, with nothing but a Delta reader and pandas in between."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from deltalake import DeltaTable

from cluster.chaos.market import INTERVALS, KEY, OPEN, PRICES

SHOWN = 5
MINUTE = pd.Timedelta(minutes=1)
SKEWS = [pd.Timedelta(seconds=s) for s in (0, 2, -2)]
"""How far a vendor's clock may have been off."""
TAKEN_BACK = 4
"""Minutes in which even a share that hardly trades has sent three more packets."""
EDGE = pd.Timedelta(seconds=1)
TICK = ["symbol", "at", "price", "day_volume"]


class Finding:
    """How many rows of which table were compared, every kind of difference in a sentence, and how many rows differ for
    a reason that is known.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.differences: list[str] = []
        self.explained: dict[str, int] = {}

    def explain(self, why: str, count: int) -> None:
        """Note rows that are not as sent, and why."""
        if count:
            self.explained[why] = self.explained.get(why, 0) + count

    def differ(self, what: str, rows: pd.DataFrame) -> None:
        """Note rows that are wrong in one way, the first few by name."""
        if len(rows):
            named = [" ".join(map(str, row)) for row in rows.head(SHOWN).itertuples(index=False)]
            self.differences.append(f"{what}: {len(rows)} rows, such as {'; '.join(named)}")


def table(lake: Path, name: str) -> pd.DataFrame:
    """A table of the lake, prices as integers of 1/10,000; no rows where it does not exist."""
    if not (lake / name / "_delta_log").exists():
        return pd.DataFrame()
    found = DeltaTable(str(lake / name)).to_pyarrow_table().to_pandas()
    for column in {*PRICES, "price"} & set(found.columns):
        found[column] = (found[column].astype("Float64") * 10_000).round().astype("Int64")
    return found


def check_candles(lake: Path, truth: pd.DataFrame, finding: Finding) -> None:
    """Each candle of the truth stands there exactly once, equal in prices and volume, complete, and no other does."""
    found = table(lake, "candles")
    finding.rows["candles"] = len(found)
    if found.empty:
        finding.differences.append(f"candles: none of {len(truth)}")
        return
    finding.differ("candles that stand there twice", found[found.duplicated([*KEY, "revision"])][KEY])
    finding.differ("candles corrected without a cause", found[found["revision"] != 0][KEY])
    both = truth.merge(found, on=KEY, how="outer", suffixes=("_true", ""), indicator=True)
    finding.differ("candles missing", both[both["_merge"] == "left_only"][KEY])
    finding.differ("candles invented", both[both["_merge"] == "right_only"][KEY])
    both = both[both["_merge"] == "both"]
    finding.differ("gaps in a market that waited", both[both["provenance"] == "GAP"][KEY])
    finding.differ("candles that are not complete", both[both["completeness"] < 1.0][KEY])
    for name in (*PRICES, "volume"):
        wrong = both[(both[name] != both[f"{name}_true"]).fillna(True)]
        finding.differ(f"candles with another {name}", wrong[[*KEY, f"{name}_true", name]])
    finding.differ("candles quiet and traded confused", both[both["traded"] != (both["trades"] > 0)][KEY])


def check_ticks(lake: Path, truth: pd.DataFrame, finding: Finding) -> None:
    """The ticks of the truth stand there, every one as often as it was sent, and no other does."""
    found = table(lake, "ticks")
    finding.rows["ticks"] = len(found)
    if found.empty:
        finding.differences.append(f"ticks: none of {len(truth)}")
        return
    counts = [rows.groupby(TICK, dropna=False).size() for rows in (truth[TICK], found[TICK])]
    sent, stored = counts[0].align(counts[1], fill_value=0)
    for what, wrong in (("lost", stored < sent), ("doubled or invented", stored > sent)):
        finding.differ(f"ticks {what}", sent[wrong].reset_index()[TICK])


class Outages:
    """When a feed was not LIVE, as its own marks on the bus say: `spans`, (n, 2) instants, sorted."""

    def __init__(self, spans: list[tuple[pd.Timestamp, pd.Timestamp]]) -> None:
        self.spans = spans

    def touch(self, begins: pd.Series, ends: pd.Series) -> pd.Series:
        """Of each span of time, whether an outage touches it."""
        hit = pd.Series(False, index=begins.index)
        for since, until in self.spans:
            hit |= (begins < until + EDGE) & (ends > since - EDGE)
        return hit


def check_received(
    lake: Path, sent: pd.DataFrame, first: pd.Timestamp, minutes: int, grace: pd.Timedelta, outages: Outages,
    injected: dict[str, int], finding: Finding,
) -> None:  # fmt: skip
    """A market that does not wait: what was taken in is folded right, what was not is owned up to.

    Every minute of every share stands there exactly once. A whole one equals the fold of the ticks in the lake, but for
    those that were damaged on the wire, and harms no minute but its own and the next; one that is not whole lies in an
    outage of the feed, or beside such a tick. A tick in the lake was sent; one that was sent in a whole minute and is
    not there was dropped or damaged on the wire, which the exchange counted.
    """
    ticks, candles = table(lake, "ticks"), table(lake, "candles")
    finding.rows |= {"ticks": len(ticks), "candles": len(candles)}
    if ticks.empty or candles.empty:
        finding.differences.append("nothing in the lake")
        return
    sent = sent.astype(ticks[TICK].dtypes.to_dict())
    finding.differ("candles that stand there twice", candles[candles.duplicated([*KEY, "revision"])][KEY])
    candles = as_told(candles)
    again = candles[corrected_whole(candles)]
    finding.differ("candles corrected without a cause", again[again["trades"] > 0][KEY])
    last = first + minutes * MINUTE
    found = (
        candles[(candles["interval"] == "1m") & (candles["start"] < last)].set_index(["symbol", "start"]).sort_index()
    )
    ticks = ticks.drop_duplicates([*TICK]).sort_values(["symbol", "at", "sequence"])
    ticks = ticks.assign(start=ticks["at"].dt.floor("min"))
    ticks = ticks[(ticks["start"] >= first) & (ticks["start"] < last)]
    sent = sent[(sent["at"] >= first) & (sent["at"] < last)]
    ticks = _recognised(ticks, sent)
    damaged = ticks[ticks["damaged"]]
    _check_whole(found, ticks[~ticks["damaged"]], damaged, grace, finding)
    _check_holes(found, ticks, damaged, first, minutes, outages, finding)
    _check_sent(found, ticks, sent, injected, finding)


def as_told(candles: pd.DataFrame) -> pd.DataFrame:
    """What the feeds made of each candle, in the end: a feed that was found dead takes back what it had vouched for."""
    told = candles[candles["provenance"] != "REPAIRED"]
    return told.sort_values([*KEY, "revision"]).drop_duplicates(KEY, keep="last")


def corrected_whole(candles: pd.DataFrame) -> pd.Series:
    """Of each candle, whether it is a later revision of a minute that is whole, and no repair."""
    later = (candles["revision"] > 0) & (candles["provenance"] != "REPAIRED")
    return later & (candles["interval"] == "1m") & (candles["completeness"] == 1.0)


def check_mended(lake: Path, truth: pd.DataFrame, until: pd.Timestamp, finding: Finding) -> None:
    """Every minute up to `until` that was not whole is the vendor's now, if he has it; no other was touched; and the
    longer candles are those of the minutes as they stand now.
    """
    candles = table(lake, "candles")
    newest = candles.sort_values([*KEY, "revision"]).drop_duplicates(KEY, keep="last").set_index(["symbol", "start"])
    minutes = newest[newest["interval"] == "1m"]
    first = as_told(candles[candles["interval"] == "1m"]).set_index(["symbol", "start"])
    holed = first[(first["completeness"] < 1.0) | (first["provenance"] == "GAP")].index
    corrected = minutes[minutes["provenance"] == "REPAIRED"]
    finding.rows["minutes repaired"] = len(corrected)
    finding.differ("whole minutes corrected", corrected[~corrected.index.isin(holed)].reset_index()[KEY])
    truth = truth[truth["interval"] == "1m"].set_index(["symbol", "start"])
    told = truth[truth["traded"]]
    quiet = minutes[corrected_whole(minutes)].join(truth, how="left", rsuffix="_true")
    wrong = quiet[(quiet["traded"] | (quiet["close"] != quiet["close_true"])).fillna(True)].reset_index()
    finding.differ("quiet minutes that carry another price than the one before them was repaired to", wrong[KEY])
    finding.explain("quiet minutes behind a repaired one, which carry its price now", len(quiet))
    both = corrected.join(told, how="left", rsuffix="_true")
    for name in (*PRICES, "volume"):
        wrong = both[(both[name] != both[f"{name}_true"]).fillna(True)].reset_index()
        finding.differ(f"repaired minutes with another {name}", wrong[[*KEY, f"{name}_true", name]])
    due = holed[holed.get_level_values("start") < until]
    left = due[due.isin(told.index)].difference(corrected.index)
    finding.differ("minutes that the vendor has, not repaired", left.to_frame(index=False))
    finding.explain("minutes that are not whole, in which nothing was traded", int((~due.isin(told.index)).sum()))
    _check_rolled(newest, minutes, finding)


def _check_rolled(newest: pd.DataFrame, minutes: pd.DataFrame, finding: Finding) -> None:
    """The longer candles against the minutes as they stand now."""
    traded = (minutes["volume"] > 0) | (minutes["trades"].fillna(0) > 0)
    minutes = minutes.assign(traded=traded).reset_index()
    for name, length in INTERVALS.items():
        longer = newest[newest["interval"] == name].reset_index()
        if name == "1m" or longer.empty:
            continue
        begun = OPEN + (minutes["start"] - OPEN) // (length * MINUTE) * (length * MINUTE)
        by = minutes.assign(start=begun).groupby(["symbol", "start"])["volume"].sum()
        rows = minutes[minutes["traded"]].assign(start=begun).groupby(["symbol", "start"]).agg(
            open=("open", "first"), high=("high", "max"), low=("low", "min"), close=("close", "last")
        )  # fmt: skip
        both = longer.set_index(["symbol", "start"]).join(rows.assign(volume=by), how="left", rsuffix="_true")
        finding.rows["longer candles rolled again"] = finding.rows.get("longer candles rolled again", 0) + len(both)
        both = both[both["open_true"].notna()]
        for field in (*PRICES, "volume"):
            wrong = both[(both[field] != both[f"{field}_true"]).fillna(True)].reset_index()
            finding.differ(f"longer candles with another {field} than their minutes", wrong[[*KEY, field]])


def _recognised(ticks: pd.DataFrame, sent: pd.DataFrame) -> pd.DataFrame:
    """Ticks with `sent_at`, when each was sent, and whether it is a state `told` anew to a new line, or `damaged`."""
    shifted = pd.concat([sent.assign(at=sent["at"] + s, sent_at=sent["at"]) for s in SKEWS]).drop_duplicates(TICK)
    both = ticks.merge(shifted, on=TICK, how="left").sort_values("at", kind="stable")
    before = sent[TICK].sort_values("at").assign(known=True)
    told = pd.merge_asof(both[TICK], before, on="at", by=["symbol", "price", "day_volume"])["known"].notna().to_numpy()
    unknown = both["sent_at"].isna()
    return both.assign(told=unknown & told, damaged=unknown & ~told).sort_values(["symbol", "at", "sequence"])


def _beside(damaged: pd.DataFrame) -> set[tuple[str, pd.Timestamp]]:
    """The minutes that a damaged tick may touch: from its own to the one in which its total is taken back."""
    starts = zip(damaged["symbol"], damaged["start"], strict=True)
    return {(s, at + k * MINUTE) for s, at in starts for k in range(TAKEN_BACK)}


def _check_whole(
    found: pd.DataFrame, ticks: pd.DataFrame, damaged: pd.DataFrame, grace: pd.Timedelta, finding: Finding
) -> None:
    closing = ticks["start"] + MINUTE + grace
    late = ticks["received"] > closing - EDGE
    fold = ticks[~late].groupby(["symbol", "start"]).agg(
        open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
        total=("day_volume", "max"),
    )  # fmt: skip
    whole = found[(found["completeness"] == 1.0) & (found["trades"] > 0)]
    before = found.groupby(level="symbol")["completeness"].shift(1).reindex(whole.index).fillna(1.0)
    both = whole[before == 1.0].join(fold, how="left", rsuffix="_true")
    touched = set(ticks[late].set_index(["symbol", "start"]).index)
    near = both.index.isin(touched | {(s, at + MINUTE) for s, at in touched})
    finding.explain("minutes with a tick at the edge of its time", int(near.sum()))
    spoilt = both.index.isin(_beside(damaged)) & ~near
    finding.explain("minutes beside a tick that was damaged on the wire", int(spoilt.sum()))
    both = both[~near & ~spoilt]
    finding.rows["minutes folded again"] = len(both)
    for name in PRICES:
        wrong = both[(both[name] != both[f"{name}_true"]).fillna(True)].reset_index()
        finding.differ(
            f"candles with another {name} than their ticks", wrong[["symbol", "start", f"{name}_true", name]]
        )
    volume = fold.groupby(level="symbol")["total"].cummax()
    grown = (volume - volume.groupby(level="symbol").shift(1).fillna(0)).reindex(both.index)
    wrong = both.assign(grown=grown)[lambda t: (t["volume"] != t["grown"]).fillna(True)].reset_index()
    finding.differ("candles with another volume than their ticks", wrong[["symbol", "start", "grown", "volume"]])


def _check_holes(
    found: pd.DataFrame, ticks: pd.DataFrame, damaged: pd.DataFrame, first: pd.Timestamp, minutes: int,
    outages: Outages, finding: Finding,
) -> None:  # fmt: skip
    heard = ticks.groupby("symbol")["start"].min()
    must = [
        (s, first + k * MINUTE) for s, since in heard.items() for k in range(minutes) if first + k * MINUTE >= since
    ]
    missing = pd.MultiIndex.from_tuples(must, names=["symbol", "start"]).difference(found.index)
    finding.differ("minutes missing", missing.to_frame(index=False))
    holed = found[(found["completeness"] < 1.0) | (found["provenance"] == "GAP")].reset_index()
    # The first volume behind an outage may be of the outage: its minute is not whole either.
    spans = ticks.sort_values("at")[["symbol", "at"]].assign(before=lambda t: t["at"])
    heard = pd.merge_asof(
        holed.sort_values("start"), spans, left_on="start", right_on="at", by="symbol", allow_exact_matches=False
    ).set_index(["symbol", "start"])["before"]
    holed = holed.set_index(["symbol", "start"]).join(heard).reset_index()
    owned = outages.touch(holed["before"].fillna(holed["start"]), holed["start"] + MINUTE)
    finding.explain("minutes that are not whole, in an outage of the feed", int(owned.sum()))
    spoilt = holed.set_index(["symbol", "start"]).index.isin(_beside(damaged))
    finding.explain("minutes that are not whole, beside a damaged tick", int((spoilt & ~owned).sum()))
    finding.differ("minutes that are not whole without an outage", holed[~owned & ~spoilt][["symbol", "start"]])


def _check_sent(
    found: pd.DataFrame, ticks: pd.DataFrame, sent: pd.DataFrame, injected: dict[str, int], finding: Finding
) -> None:
    finding.explain("states told anew to a new line", int(ticks["told"].sum()))
    strange, damaged = ticks[ticks["damaged"]], injected.get("corrupt", 0)
    if len(strange) <= damaged * sent["symbol"].nunique():
        finding.explain("ticks damaged on the wire so that nobody can see it", len(strange))
    else:
        finding.differ("ticks invented", strange[TICK])
    came = ticks.dropna(subset=["sent_at"]).set_index(["symbol", "sent_at", "price", "day_volume"]).index
    missing = sent[~sent.set_index(["symbol", "at", "price", "day_volume"]).index.isin(came)]
    whole = found[found["completeness"] == 1.0].index
    missing = missing.assign(start=missing["at"].dt.floor("min")).set_index(["symbol", "start"])
    unowned = missing[missing.index.isin(whole)]
    frames, lost = unowned["at"].nunique(), damaged + injected.get("drop", 0)
    finding.explain("ticks never sent or damaged, in minutes that look whole", len(unowned))
    finding.explain("ticks missing in minutes that are not whole", len(missing) - len(unowned))
    if frames > lost:
        finding.differ(f"ticks of {frames} moments lost, where {lost} frames were", unowned.reset_index()[TICK])
