"""Features in bulk: the lake's candles through `market.features`, on every core of the cluster, into the lake.

The dataset's rows are parts: some instruments over some sessions, with the candles before them that features remember.
Nothing is shuffled. What a minute's whole market is made of are sums, so a first pass makes those of each part and a
second one the features. A part's files are staged where it is computed and committed here, once, under its name: a run
that was ended is begun again and goes on, with the versions of the lake it began with.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from adapters import actions as told_actions
from adapters.lake import Lake
from adapters.past import Past
from adapters.schemas import feature_table
from adapters.staging import Staged
from market import features
from market.actions import Actions
from market.adjustment import Factors as Splits
from market.adjustment import factors
from market.candles import Candles
from market.errors import BadValue, BourseError
from market.features import FEATURE, MEMORY, NAMES, SET, Factors, Market, Members, Unknown
from market.instruments import Instrument
from market.records import Record
from market.sessions import MINUTE, Session, Sessions, day_number

TABLE = "features"
GROUP = 8
"""Instruments of a part."""

SPAN = 40
"""Sessions of a part: with those before, which it must read as well, some hundred megabytes at most."""

BAND = 8
"""Spans whose market is held at a time."""

SPARE = 1.2
"""Times the minutes that must be remembered: an instrument may lack some."""

REASONS = tuple("" if reason is Unknown.KNOWN else reason.name for reason in Unknown)

Progress = Callable[[float, str], None]
Compute = Callable[..., npt.NDArray[np.void]]


class FeaturesPlan(Record):
    """What a run is told. `instruments`: the universe, which makes up the market; `symbols`: those to compute.

    `sessions`: from well before `first`; `version`: of the lake's candles, None for the newest, or the one that a run
    which did not end had begun with; `now`: ns UTC; `again`: also parts that are there. A part is of `group`
    instruments and `span` sessions.
    """

    lake: str
    instruments: tuple[Instrument, ...]
    symbols: tuple[str, ...]
    sessions: tuple[Session, ...]
    first: date
    last: date
    now: int
    version: int | None = None
    again: bool = False
    group: int = GROUP
    span: int = SPAN


class Failure(Record):
    """An instrument whose features could not be computed, in the part that `first` and `last` bound."""

    symbol: str
    first: date
    last: date
    reason: str


class Report(Record):
    """What a run did: `rows` written in `parts`, `known` of which were there before; the versions of the lake used."""

    set: str = SET
    parts: int
    known: int
    rows: int = 0
    unknown: int = 0
    base: Mapping[str, int]
    resumed: bool = False
    empty: tuple[str, ...] = ()
    """Instruments of which there is no minute in the span."""
    failures: tuple[Failure, ...] = ()


class Part(Record):
    """Some instruments over the sessions `first` to `last`."""

    name: str
    symbols: tuple[str, ...]
    first: date
    last: date


def run(plan: FeaturesPlan, progress: Progress) -> Report:
    """Compute what is missing, on the Ray this process has joined. Raises BadValue, LineDown, StoreRefused, LeaseLost.

    What was committed before an error stays, and is not computed again.
    """
    import ray

    lake = Lake(plan.lake)
    name, base, resumed = _begun(plan, lake)
    work = Work(plan, base)
    found = parts(plan, name, base)
    known = set() if plan.again else _known(lake, found)
    counts: dict[str, int] = defaultdict(int, known=len(known))
    failures: list[Failure] = []
    seen: set[str] = set()
    spans = sorted({(part.first, part.last) for part in found})
    for at in range(0, len(spans), BAND):
        band = set(spans[at : at + BAND])
        todo = [part for part in found if (part.first, part.last) in band and part.name not in known]
        if not todo:
            continue
        markets, missing = {}, {}
        for span, sums, failed in _market(plan, work, sorted({(part.first, part.last) for part in todo})):
            markets[span], missing[span] = ray.put(sums), failed
            failures += failed
        for made in _computed(work, todo, markets):
            part = made.part
            failures += made.failures
            seen |= set(made.seen)
            counts["rows"] += made.staged.rows
            counts["unknown"] += made.unknown
            without = [*missing[part.first, part.last], *made.failures]
            lake.commit(TABLE, [made.staged], {_name_of(part, without, plan): 1}, base)
            counts["done"] += 1
            done = counts["done"] + len(known)
            progress(done / len(found), f"{done} of {len(found)} parts, {counts['rows']:,} rows")
    lake.commit(TABLE, [], {f"{name}:done": base["candles"] + 1})
    return Report(
        parts=len(found),
        known=len(known),
        rows=counts["rows"],
        unknown=counts["unknown"],
        base=base,
        resumed=resumed,
        empty=() if known else tuple(s for s in plan.symbols if s not in seen | {f.symbol for f in failures}),
        failures=tuple(dict.fromkeys(failures)),
    )


def parts(plan: FeaturesPlan, name: str, base: Mapping[str, int]) -> list[Part]:
    """The parts of a run, by sessions and then by instruments; the same however often, and on however many cores."""
    days = [s.date for s in plan.sessions if plan.first <= s.date <= plan.last]
    spans = [days[k : k + plan.span] for k in range(0, len(days), plan.span)]
    groups = [plan.symbols[k : k + plan.group] for k in range(0, len(plan.symbols), plan.group)]
    stamp = "-".join(str(version) for _, version in sorted(base.items()))
    return [
        Part(name=f"{name}:{stamp}:{k}:{n}", symbols=group, first=span[0], last=span[-1])
        for k, span in enumerate(spans)
        for n, group in enumerate(groups)
    ]


class Work:
    """What a task needs to know: the plan, and the versions of the lake that are read; `compute` is of features."""

    def __init__(self, plan: FeaturesPlan, base: Mapping[str, int], compute: Compute = features.compute) -> None:
        self.plan, self.base, self._compute = plan, dict(base), compute
        extra = [s for s in plan.symbols if s not in {i.symbol for i in plan.instruments}]
        self.symbols = [*(i.symbol for i in plan.instruments), *extra]
        self.ids = {symbol: k for k, symbol in enumerate(self.symbols)}
        members = features.members_of(plan.instruments)
        strangers = np.full(len(extra), -1, np.int32)
        self.members = Members(np.concatenate([members.group, strangers]), members.sectors)

    def sums(self, symbols: Sequence[str], first: date, last: date) -> tuple[npt.NDArray[np.void], list[Failure]]:
        """What these instruments add to the market in these sessions, `SUMS` rows, and which of them could not."""
        found, failures = [], []
        for symbol, sums in self._each(symbols, first, last, self._sums):
            if isinstance(sums, Exception):
                failures.append(_failure(symbol, first, last, sums))
            else:
                found.append(sums)
        return features.merged(found), failures

    def rows(self, part: Part, market: Market) -> tuple[npt.NDArray[np.void], list[Failure], list[str]]:
        """The `FEATURE` rows of a part, what failed, and which instruments there was something of."""
        found, failures, seen = [np.zeros(0, FEATURE)], [], []

        def made(*given: Any) -> npt.NDArray[np.void]:
            return self._compute(given[0], given[1], market, *given[2:])

        for symbol, rows in self._each(part.symbols, part.first, part.last, made):
            if isinstance(rows, Exception):
                failures.append(_failure(symbol, part.first, part.last, rows))
            elif len(rows):
                found.append(rows)
                seen.append(symbol)
        return np.concatenate(found), failures, seen

    def _sums(self, minutes: Candles, daily: Candles, *given: Any) -> npt.NDArray[np.void]:
        return features.sums(minutes, daily, self.members, *given)

    def _each(
        self, symbols: Sequence[str], first: date, last: date, make: Compute
    ) -> Iterator[tuple[str, npt.NDArray[np.void] | Exception]]:
        """What `make` makes of each instrument's candles, the sessions before `first` cut off; or why it could not."""
        lake = Lake(self.plan.lake)
        known = told_actions.known(lake, version=self.base.get("actions"))
        sessions = Sessions(self.plan.sessions)
        whole = list(self.plan.sessions)
        inside = [s for s in whole if first <= s.date <= last]
        past = Past(lake, self.base["candles"], self.ids, known.names)
        begin = _back(whole, first, max(MEMORY["1m"], 5 * MEMORY["5m"], 15 * MEMORY["15m"]))
        minutes = past.minutes(list(symbols), begin, last)
        day = whole[max(_place(whole, first) - int(MEMORY["1d"] * SPARE), 0)].date
        daily = past.days(list(symbols), day, last)
        table, log = sessions.table(), structlog.get_logger()
        for symbol in symbols:
            mine, days = (rows[rows["instrument"] == self.ids[symbol]] for rows in (minutes, daily))
            try:
                made = [
                    self._cut(make, mine, days, table, known, symbol, some) for some in _knowing(known, symbol, inside)
                ]
                yield symbol, np.concatenate(made)
            except Exception as e:  # one instrument's trouble is told, and not the others'
                log.exception("instrument_failed", symbol=symbol)
                yield symbol, e

    def _cut(
        self,
        make: Compute,
        minutes: Candles,
        daily: Candles,
        table: npt.NDArray[np.int64],
        known: Actions,
        symbol: str,
        sessions: Sequence[Session],
    ) -> npt.NDArray[np.void]:
        """Over sessions of which the newest open tells which corporate actions count."""
        upto = day_number(sessions[-1].date)
        minutes, daily = minutes[minutes["session"] <= upto], daily[daily["session"] < upto]
        of = factors(known, symbol, sessions[-1].open)
        given = [Factors(of.prices(rows["session"]), of.volumes(rows["session"])) for rows in (minutes, daily)]
        rows = make(minutes, daily, table, *given)
        return rows[rows["start"] >= sessions[0].open]


def _begun(plan: FeaturesPlan, lake: Lake) -> tuple[str, dict[str, int], bool]:
    """The run's name, the versions it reads, and whether it goes on with one that was ended."""
    words = [*plan.symbols, "", *(i.symbol for i in plan.instruments), plan.first, plan.last, plan.group, plan.span]
    told = "\n".join(map(str, words))
    name = f"{TABLE}:{SET}:{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    apps = {table: f"{name}:{table}" for table in ("candles", "actions")}
    done = f"{name}:done"
    kept = lake.cursors(TABLE, [*apps.values(), done])
    if plan.version is not None:
        base = {"candles": plan.version} | _version(lake, "actions")
        return f"{name}:v", base, False
    if kept[apps["candles"]] > kept[done]:
        base = {table: kept[app] - 1 for table, app in apps.items() if kept[app]}
        if _there(lake, base):
            return name, base, True
    base = {"candles": lake.version("candles")} | _version(lake, "actions")
    lake.commit(TABLE, [], {apps[table]: version + 1 for table, version in base.items()}, base)
    return name, base, False


def _there(lake: Lake, base: Mapping[str, int]) -> bool:
    try:
        return all(bool(lake.dataset(table, version)) for table, version in base.items())
    except BadValue:  # retention took it: what is left of the run is begun anew
        return False


def _version(lake: Lake, table: str) -> dict[str, int]:
    try:
        return {table: lake.version(table)}
    except BadValue:  # nothing was ever written to it
        return {}


def _known(lake: Lake, found: Sequence[Part]) -> set[str]:
    cursors = lake.cursors(TABLE, [part.name for part in found])
    return {name for name, cursor in cursors.items() if cursor}


def _failure(symbol: str, first: date, last: date, error: Exception) -> Failure:
    return Failure(symbol=symbol, first=first, last=last, reason=f"{type(error).__name__}: {error}")


def _name_of(part: Part, failures: Sequence[Failure], plan: FeaturesPlan) -> str:
    """Another one where instruments failed, so that the part is tried again, and the same failure changes nothing."""
    name = part.name if not plan.again else f"{part.name}:{plan.now}"
    if not failures:
        return name
    return f"{name}:without:{hashlib.sha256(repr(sorted({f.symbol for f in failures})).encode()).hexdigest()[:16]}"


Span = tuple[date, date]


def _market(
    plan: FeaturesPlan, work: Work, spans: Sequence[Span]
) -> Iterator[tuple[Span, npt.NDArray[np.void], list[Failure]]]:
    """The sums of the whole universe over each span, and which instruments are not in them."""
    symbols = [i.symbol for i in plan.instruments]
    groups = [symbols[k : k + plan.group] for k in range(0, len(symbols), plan.group)]
    todo = [(k, group) for k in range(len(spans)) for group in groups]

    def sums(k: int) -> tuple[int, npt.NDArray[np.void], list[Failure]]:
        span, group = todo[k]
        return span, *work.sums(group, *spans[span])

    found: dict[int, list[npt.NDArray[np.void]]] = defaultdict(list)
    failures: dict[int, list[Failure]] = defaultdict(list)
    for span, made, failed in _mapped(len(todo), sums):
        found[span].append(made)
        failures[span] += failed
    return ((span, features.merged(found[k]), failures[k]) for k, span in enumerate(spans))


class Made(NamedTuple):
    """A part as it was staged."""

    part: Part
    staged: Staged
    failures: list[Failure]
    seen: list[str]
    unknown: int


def _computed(work: Work, todo: Sequence[Part], markets: Mapping[Span, Any]) -> Iterator[Made]:
    """Each part, in any order."""

    def staged(k: int) -> Made:
        import ray

        part = todo[k]
        market = Market(ray.get(markets[part.first, part.last]), work.members)
        rows, failures, seen = work.rows(part, market)
        table = feature_table(rows, work.symbols, SET, NAMES, REASONS, work.plan.now)
        unknown = int(np.count_nonzero(rows["unknown"]))
        return Made(part, Lake(work.plan.lake).stage(TABLE, table), failures, seen, unknown)

    yield from _mapped(len(todo), staged)


def _mapped(count: int, task: Callable[[int], Any]) -> Iterator[Any]:
    """What a task makes of each number below `count`, as it is there. Raises what it raised, if that is ours."""
    import ray.data

    def made(batch: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[Any]]:
        box = np.empty(1, object)
        try:
            box[0] = task(int(batch["id"][0]))
        except BourseError as e:
            box[0] = e
        return {"made": box}

    for row in ray.data.range(count, override_num_blocks=count).map_batches(made, batch_size=1, num_cpus=1).iter_rows():
        if isinstance(row["made"], BourseError):
            raise row["made"]
        yield row["made"]


def _place(sessions: Sequence[Session], day: date) -> int:
    return next(k for k, s in enumerate(sessions) if s.date >= day)


def _back(sessions: Sequence[Session], first: date, minutes: int) -> date:
    """The session from which on so many minutes, and some to spare, lie before `first`."""
    place, left = _place(sessions, first), minutes * SPARE
    while place > 0 and left > 0:
        place -= 1
        left -= (sessions[place].close - sessions[place].open) / MINUTE
    return sessions[place].date


def _knowing(known: Actions, symbol: str, sessions: Sequence[Session]) -> Iterable[Sequence[Session]]:
    """The sessions, cut where what was known of an ex-date became another after that had opened."""
    opens = [s.open for s in sessions]
    told = {r.known for r in known.records if known.names.present(r.symbol, r.ex_date) == symbol}
    places = {int(np.searchsorted(opens, moment)) for moment in told}
    cuts = [k for k in sorted(places) if 0 < k < len(sessions) and _turned(known, symbol, sessions[k - 1], sessions[k])]
    return [sessions[a:b] for a, b in pairwise([0, *cuts, len(sessions)])]


def _turned(known: Actions, symbol: str, before: Session, after: Session) -> bool:
    """Whether of the ex-dates that had begun at one open the next one knew something else."""
    upto = day_number(before.date)
    was, now = (_steps(factors(known, symbol, session.open), upto) for session in (before, after))
    return not (was.shape == now.shape and (was == now).all())


def _steps(of: Splits, upto: int) -> npt.NDArray[np.float64]:
    begun = of.days <= upto
    steps = np.stack([of.days, of.price[:-1] / of.price[1:], of.volume[:-1] / of.volume[1:]])
    return np.asarray(steps[:, begun])
