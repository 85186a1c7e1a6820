"""Outcomes as rows of the lake, and predictions and outcomes of the lake as columns."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from adapters.lake import Lake
from adapters.schemas import OUTCOMES, instants, strings, whole
from adapters.signals import ABSTENTIONS, numbers, texts
from market.errors import LineDown
from market.labels import UNKNOWN_LABEL, Label
from market.outcomes import OUTCOME, Outcomes, Performance, Tallies, Unscored, model_asked, performance, tally, total
from market.predictions import Abstained

KEY = ("symbol", "at", "horizon", "version")
KNOWN = ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high")
LABELS = [label.name for label in sorted(Label)]
KINDS = ("session", "version", "horizon")
TALLIED = [*KINDS, "at", *KNOWN, "abstained", "unscored", "came", "outcome", "net"]
Key = tuple[date, str, str]
"""Session, version, horizon."""

BATCH_ROWS = 65_536
REASONS = [None, *(why.name for why in sorted(Unscored)[1:])]


def unscored(lake: Lake, day: date, shadows: pa.Table | None = None, symbols: Sequence[str] | None = None) -> pa.Table:
    """The rows of `predictions` of a session that are not in `outcomes`; of one that the log brought twice the first.
    Not asked of the predictor, not among them. By symbol and time.

    `shadows`: what challengers said unseen, `adapters.shadows.SHADOWS`, to be scored like them; `symbols`: whose alone,
    all without it.

    Raises LineDown, StoreRefused.
    """
    of = _sessions(day, day)
    mine = of if symbols is None else of & ds.field("symbol").isin(list(symbols))
    columns = [*KEY, *KNOWN, "abstained", "session"]  # as in SHADOWS
    rows = lake.dataset("predictions").to_table(filter=mine & ds.field("asked").is_null(), columns=columns)
    rows = rows.set_column(rows.column_names.index("version"), "version", pc.fill_null(rows["version"], ""))
    if shadows is not None:
        kept = shadows.filter(mine)
        rows = pa.concat_tables([rows.cast(kept.schema), kept])
    done = lake.dataset("outcomes").to_table(filter=of, columns=list(KEY))
    rows = rows.append_column("place", pa.array(np.arange(len(rows))))
    once = rows.group_by(list(KEY)).aggregate([("place", "min")]).rename_columns([*KEY, "place"])
    left = once.join(done, keys=list(KEY), join_type="left anti") if len(done) else once
    return rows.take(left["place"]).drop_columns(["place"]).sort_by([("symbol", "ascending"), ("at", "ascending")])


def outcome_rows(table: pa.Table) -> Outcomes:
    """Rows of the lake's `predictions` or `outcomes` as `OUTCOME` rows, in their order; of the former nothing came.
    Without a column of versions or horizons those stay empty.
    """
    out = np.zeros(len(table), OUTCOME)
    out["at"] = whole(table["at"].cast(pa.int64())) * 1000
    for name in {"horizon", "version"} & set(table.column_names):
        out[name] = np.char.encode(table[name].to_numpy().astype("U48"), "ascii", "replace") if len(table) else b""
    for name in KNOWN:
        out[name] = _floats(table[name])
    out["abstained"] = _codes(table["abstained"], ABSTENTIONS[1:], 1, Abstained.NO)
    if "came" in table.column_names:
        out["unscored"] = _codes(table["unscored"], REASONS[1:], 1, Unscored.NO)
        out["came"] = _codes(table["came"], LABELS, 0, UNKNOWN_LABEL)
        out["outcome"], out["net"] = _floats(table["outcome"]), _floats(table["net"])
    return out


def outcome_table(rows: Outcomes, symbol: str, sessions: pa.ChunkedArray, at: int) -> pa.Table:
    """`OUTCOME` rows of one symbol, (n,), as rows of the lake's `outcomes`; `sessions`, (n,), dates; `at`: ns UTC."""
    columns = {
        "symbol": pa.repeat(pa.scalar(symbol), len(rows)),
        "at": instants(rows["at"]),
        **{name: texts(rows[name]) for name in ("horizon", "version")},
        **{name: numbers(rows[name]) for name in KNOWN},
        "abstained": strings(rows["abstained"], ABSTENTIONS),
        "unscored": strings(rows["unscored"], REASONS),
        "came": strings(rows["came"].astype(np.int64) - UNKNOWN_LABEL, [None, *LABELS]),
        **{name: numbers(rows[name]) for name in ("outcome", "net")},
        "scored": instants(np.full(len(rows), at, np.int64)),
        "session": sessions,
    }
    return pa.table(columns, schema=OUTCOMES)


class Tallied:
    """How good the predictions of many sessions were, read file by file: in memory is one batch of rows at a time.

    A file of the lake never changes, so what it comes to is kept, and only new ones are read the next time.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lock = threading.Lock()
        self._known: dict[str, dict[Key, Tallies]] = {}
        self.read = 0
        """Files that were read, rather than known."""

    def performances(
        self,
        first: date,
        last: date,
        *,
        horizon: str | None = None,
        version: str | None = None,
        seconds: float | None = None,
    ) -> list[Performance]:
        """Of sessions `first` to `last`, both inclusive, by name. `version`: `direction-15m@3`, or `direction-15m` for
        all of this name. Raises BadValue: it is neither.

        Raises TimeoutError when it takes more than `seconds`: what was read by then need not be read again. Raises
        LineDown, StoreRefused.
        """
        parts: dict[tuple[str, str], list[Tallies]] = {}
        sums = self._sums(first, last, seconds)
        if version is not None:
            model_asked(version, {title for (_, title, _), _ in sums})
        for (day, title, over), one in sums:
            if first <= day <= last and horizon in (None, over) and _called(title, version):
                parts.setdefault((title, over), []).append(one)
        return [performance(total(np.concatenate(parts[key])), *key) for key in sorted(parts)]

    def _sums(self, first: date, last: date, seconds: float | None) -> list[tuple[Key, Tallies]]:
        """By session, version and horizon; of several files several."""
        until = None if seconds is None else time.monotonic() + seconds
        if not self._lock.acquire(timeout=-1 if seconds is None else seconds):
            raise TimeoutError(f"another is reading the outcomes, for more than {seconds:g} s")
        try:
            dataset = self._lake.dataset("outcomes")
            if not isinstance(dataset, ds.FileSystemDataset):
                return []
            self._known = {path: self._known[path] for path in dataset.files if path in self._known}
            found: list[tuple[Key, Tallies]] = []
            for file in dataset.get_fragments(_sessions(first, last)):
                if file.path not in self._known:
                    self._known[file.path] = _tallies(file, dataset.schema, until)
                    self.read += 1
                found += self._known[file.path].items()
            return found
        except TimeoutError:
            raise
        except (OSError, pa.ArrowException) as e:
            raise LineDown("outcomes", " ".join(str(e).split())[:200]) from e
        finally:
            self._lock.release()


def read_outcomes(
    lake: Lake, first: date, last: date, *, horizon: str | None = None, version: str | None = None
) -> Outcomes:
    """The outcomes of sessions `first` to `last`, both inclusive. `version`: `direction-15m@3`, or `direction-15m` for
    all of this name. Raises LineDown, StoreRefused.
    """
    wanted = _sessions(first, last)
    if horizon is not None:
        wanted &= ds.field("horizon") == horizon
    table = lake.dataset("outcomes").to_table(filter=wanted)
    if version is not None:
        same = pc.equal(table["version"], version)
        table = table.filter(pc.or_(same, pc.starts_with(table["version"], f"{version}@")))
    return outcome_rows(table)


def drift_weights(lake: Lake) -> dict[str, float]:
    """How much each version counts by what was last found of its drift, 0 to 1; one that is not there counts fully.

    Raises LineDown, StoreRefused.
    """
    rows = lake.dataset("drift").to_table(columns=["version", "weight", "last"]).sort_by("last")
    return dict(zip(rows["version"].to_pylist(), rows["weight"].to_pylist(), strict=True))


def _tallies(file: ds.Fragment, schema: pa.Schema, until: float | None) -> dict[Key, Tallies]:
    """Of one file. `until`: on the steady clock. Raises TimeoutError."""
    parts: dict[Key, list[Tallies]] = {}
    batches = file.to_batches(schema, columns=TALLIED, batch_size=BATCH_ROWS, batch_readahead=1, use_threads=False)
    for batch in batches:
        if until is not None and time.monotonic() > until:
            raise TimeoutError("the outcomes were not read in time")
        table = pa.table(batch)
        coded = [table[name].combine_chunks().dictionary_encode() for name in KINDS]
        sizes = [max(len(one.dictionary), 1) for one in coded]
        kinds = np.ravel_multi_index([one.indices.to_numpy() for one in coded], sizes) if len(table) else np.zeros(0)
        rows = outcome_rows(table.drop_columns(list(KINDS)))
        for kind in np.unique(kinds).astype(np.int64).tolist():
            places = np.unravel_index(kind, sizes)
            day, title, over = (one.dictionary[int(k)].as_py() for one, k in zip(coded, places, strict=True))
            parts.setdefault((day, title, over), []).append(tally(rows[kinds == kind]))
    return {key: total(np.concatenate(some)) for key, some in parts.items()}


def _called(title: str, version: str | None) -> bool:
    return version is None or title == version or title.startswith(f"{version}@")


def _sessions(first: date, last: date) -> ds.Expression:
    return (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _codes(column: pa.ChunkedArray, names: Sequence[str | None], first: int, none: int) -> npt.NDArray[Any]:
    places = pc.index_in(column, pa.array(names, pa.string()))
    return np.asarray(pc.fill_null(pc.add(places.cast(pa.int64()), first), none).to_numpy())
