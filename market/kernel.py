"""The kernel of the candle fold: ticks and marks in, closed candles out. The one module that loads Numba, and one file
because Numba's cache forgets a function only when the function's own file changes.

Time moves only with the marks among the ticks, so the result does not depend on the clock or on how a log is cut into
batches. The rules, in the order in which a tick meets them:

- One of an instrument of another partition is *foreign*, one without a price *unpriced*: counted, left out.
- A tick of a feed that is not the active one waits while the active one is LIVE. Once the active one vouches for a time
  `WAIT` behind the tick's own it is *standby*: counted, left out. When the active one is found MUTE or DOWN, or another
  becomes the active one, all that wait are folded in the order in which they came. While the active one is not LIVE,
  and always where feeds `arbitrate`, the ticks of all feeds count as they come.
- Its session is the one whose day in India holds `at`. Before that session's open it moves the volume base and folds
  into no candle; at or after the close it is *off session*. In a pause between two halves of a session it moves the
  base likewise: a pause has no minutes, neither quiet ones nor gaps.
- Behind the frontier (its minute is closed) it is *late*: counted, left out; its volume arrives with the next packet,
  because brokers send the running total. More than `OPEN_MINUTES` ahead of the frontier its stamp is wrong: *early*,
  left out.
- Equal to the last folded tick in `at`, day volume and price it is a *duplicate*.
- Where another feed moved the instrument last, it is a *duplicate* too unless it is ahead (its day volume is above the
  session's highest, or its `at` is later), or its feed has shown that last folded tick before: then its feed is level
  with the other, and what it says next is new. So overlap counts once, and the first feed to tell a trade wins. One
  that is behind still widens its minute: a price that was told twice widens nothing.
- It counts for prices if its volume rose, its price changed, or (instruments without a volume) its `at` is new; else
  it is *unchanged*: a packet that only moved the book.
- Open is the earliest (at, arrival), close the latest. A volume below the session's highest is old: it adds none and
  sets no close.
- `DOUBTS` packets in a row that are stamped later than the one with the highest total, and say less, take it back: it
  was damaged, or trades were cancelled. While its minute is open, what it added is undone; where it is not, or nothing
  is known from before, the total begins anew. Unless all of it happened in one minute, the minutes it touched are
  incomplete; one that closes in doubt is whole only up to that packet.
- The first packet of a session has base 0 if the feeds, one after the other, were LIVE since before the open; else its
  own volume is the base, it adds nothing, and the minute is incomplete.
- A print (`Flag.PRINT`) adds its own size, whatever came before it. It is a *duplicate* if its instant, price, size and
  number equal one of the instrument's last `HEARD` prints of the session; one stamped before all that are still
  remembered may be either, and is *late*. One that counts for volume only sets no price and is no trade of the candle;
  a minute that had no others carries the last price. The feeds of one universe send all prints, or all totals.
- The first volume behind a stretch in which no feed was LIVE holds what was traded in that stretch: its minute is
  incomplete, however long the feed has been back.

Nothing that any feed told in time is lost, wherever the switch stands in the log: it moves the frontier to another feed
and changes no candle, if both tell one instrument's packets in one order and not further apart than the grace, less the
second between two marks.

A minute closes when the active feed's mark, less the grace, has passed its end. A session that one mark jumps over from
before its open to behind its close leaves no rows: nobody was there to see it.

A repair (`market.corrections`) comes through the same log. It makes new revisions of minutes and of the longer candles
that were closed with them; those still open are rolled again, so that they close as if the minutes had been so before.
A repaired minute may not know its trades or its vwap; what is rolled from it does not know them either.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from market.candles import INTERVALS, Provenance
from market.money import UNKNOWN
from market.sessions import DAY, HOURS, MINUTE, SECOND
from market.ticks import TICK, FeedState, Flag, Kind

OPEN_MINUTES = 4
HEARD = 256
FEEDS = 16
PAST = 64
WAIT = 5 * SECOND
"""A feed that dies has vouched for at most a second too much; the rest is for a standby that is quicker or slower."""
DOUBTS = 3
AHEAD = 16
"""Rows that are asked for before they are needed."""
MARKS_APART = 2 * SECOND
"""The longest a feed that is LIVE says nothing."""

COUNTS = (
    "ticks", "late", "duplicate", "unchanged", "off_session", "early", "unpriced", "foreign", "standby", "taken_back",
    "marks",
)  # fmt: skip
TICKS, LATE, DUPLICATE, UNCHANGED, OFF_SESSION, EARLY, UNPRICED, FOREIGN, STANDBY, TAKEN_BACK, MARKS = range(
    len(COUNTS)
)

ROLLUPS = np.array([seconds * SECOND for name, seconds in INTERVALS.items() if name != "1m"], np.int64)

_OHLC = [
    ("open", "i8"),
    ("high", "i8"),
    ("low", "i8"),
    ("close", "i8"),
    ("volume", "i8"),
    ("turnover", "i8"),
    ("trades", "i8"),
    ("oi", "i8"),
]
LAST = np.dtype(
    [
        ("session", "i8"),
        ("at", "i8"),
        ("volume", "i8"),
        ("price", "i8"),
        ("base", "i8"),
        ("carry", "i8"),
        ("carry_oi", "i8"),
        ("instrument", "i8"),
        ("minute", "i8"),
        ("source", "i8"),
        ("hole", "i8"),
        ("before", "i8"),
        ("risen", "i8"),
        ("lifted", "i8"),
        ("doubts", "i8"),
    ]
)
SHOWN = np.dtype([("at", "i8"), ("volume", "i8"), ("price", "i8")])
OPEN_CANDLE = np.dtype([("start", "i8"), ("open_at", "i8"), ("close_at", "i8"), ("known_from", "i8"), *_OHLC])
BUCKET = np.dtype([("start", "i8"), ("minutes", "i8"), ("gaps", "i8"), ("repaired", "i8"), ("covered", "f8"), *_OHLC])
FEED = np.dtype([("state", "i8"), ("live_from", "i8"), ("mark", "i8"), ("incarnation", "i8")])

# What the whole partition shares, as an int64 vector. HOLE: the end of the newest stretch in which no feed was LIVE;
# GAP_SINCE: the start of the first of the GAP minutes that were closed last, 0 when the last one was none.
SESSION, NEXT, ACTIVE, PASTS, STARTED, FRONTIER, HOLE, GAP_SINCE, WAITING = range(9)
WORLD = 9

DONE, FULL, REVISE, ROOM = 0, 1, 2, 3
_NOTHING, _BEHIND, _NEW = 0, 1, 2
_NEVER = np.iinfo(np.int64).max

_LIVE, _CLOSED, _ACTIVE = int(FeedState.LIVE), int(FeedState.CLOSED), int(FeedState.ACTIVE)
_TICK, _MARK = int(Kind.TICK), int(Kind.MARK)
_P_LIVE, _P_GAP, _P_REPAIRED = int(Provenance.LIVE), int(Provenance.GAP), int(Provenance.REPAIRED)
_PRINT, _VOLUME_ONLY, _RANGE_ONLY = int(Flag.PRINT), int(Flag.VOLUME_ONLY), int(Flag.RANGE_ONLY)

# The prints an instrument remembers, as an int64 vector: the session they are of, where the next one goes, the newest
# instant, the newest one forgotten; then `HEARD` instants and as many keys.
_H_SESSION, _H_NEXT, _H_NEWEST, _H_FORGOTTEN, _H_AT, _H_KEY, PRINTS_WIDTH = 0, 1, 2, 3, 4, 4 + HEARD, 4 + 2 * HEARD


@nb.njit(cache=True)
def fold(
    ticks, begin, out, slots, sessions, grace, last, minutes, buckets, feeds, past, world, counts, prints, shown,
    waiting, arbitrate,
):  # fmt: skip
    """Fold rows from `begin`; returns (next row, rows written, where the newest minute's rows begin, status)."""
    wrote = 0
    recent = 0
    k = begin
    while k < len(ticks):
        row = ticks[k]
        if row.kind == _TICK:
            together = arbitrate or feeds[world[ACTIVE]].state != _LIVE
            k = _ticks(ticks, k, together, slots, sessions, last, minutes, feeds, world, counts, prints, shown, waiting)
            if k < len(ticks) and ticks[k].kind == _TICK:
                return k, wrote, recent, ROOM
            continue
        if row.kind == _MARK:
            active = world[ACTIVE]
            revise = _note(row, feeds, past, sessions, world)
            if world[ACTIVE] != active or feeds[active].state != _LIVE:
                held = world[WAITING]
                world[WAITING] = 0
                first, everyone = np.int64(0), np.bool_(True)  # as literals Numba would compile it all a second time
                _ticks(
                    waiting[:held], first, everyone, slots, sessions, last, minutes, feeds, world, counts, prints,
                    shown, waiting,
                )  # fmt: skip
                counts[TICKS] -= held
            elif row.source == active:
                let_go(row.at - WAIT, waiting, slots, shown, world, counts)
            if row.source == world[ACTIVE] and row.flags != _ACTIVE:
                frontier = row.at - grace
                if not world[STARTED]:
                    _begin(row.at, sessions, world, frontier)
                while _due(frontier, sessions, world):
                    if wrote + len(last) * (1 + len(ROLLUPS)) > len(out):
                        return k, wrote, recent, FULL
                    recent = wrote
                    wrote = _close(out, wrote, sessions, last, minutes, buckets, feeds, past, world)
                world[FRONTIER] = max(world[FRONTIER], frontier)
            counts[MARKS] += 1
            if revise:
                return k, wrote, recent, REVISE
        k += 1
    return k, wrote, recent, DONE


@nb.njit(cache=True)
def _ticks(ticks, begin, together, slots, sessions, last, minutes, feeds, world, counts, prints, shown, waiting):
    """Fold the run of ticks that starts at `begin`; returns the index of the first row that is none, or for which there
    is no room. `together`: all feeds count.
    """
    active, hole = world[ACTIVE], world[HOLE]
    frontier = world[NEXT] if world[STARTED] else _NEVER
    k = begin
    while True:
        k = _plain(ticks, k, active, frontier, hole, slots, last, minutes)
        if k == len(ticks) or ticks[k].kind != _TICK:
            break
        row = ticks[k]
        if row.flags & _PRINT and len(prints) == 0:
            break
        k += 1
        i = slots[row.instrument] if 0 <= row.instrument < len(slots) else -1
        if i < 0:
            counts[FOREIGN] += 1
            continue
        if row.source != active:
            if row.source >= len(feeds):
                counts[STANDBY] += 1
                continue
            if row.source >= shown.shape[1] or (not together and world[WAITING] == len(waiting)):
                k -= 1
                break
            if not together:
                waiting[world[WAITING]] = row
                world[WAITING] += 1
                continue
        price = row.price
        if price == UNKNOWN:
            counts[UNPRICED] += 1
            continue
        at = row.at
        volume = row.day_volume
        me = last[i]
        start = me.minute
        if row.flags & _PRINT:
            if not frontier <= start <= at < start + MINUTE:
                start = _place(at, UNKNOWN, me, sessions, world, counts)
                if start < 0:
                    continue
                me.minute = start
            _print(row, start, me, minutes[i], prints[i], counts)
            continue
        if not (frontier <= start <= at < start + MINUTE):
            start = _place(at, volume, me, sessions, world, counts)
            if start < 0:
                continue
            me.minute = start
        if row.source != me.source:
            if row.source >= shown.shape[1]:
                k -= 1
                break
            if me.source >= 0:
                told = _told(row, me, shown[i])
                if told != _NEW:
                    counts[DUPLICATE] += 1
                    if told == _BEHIND:
                        _widen(minutes[i, (start // MINUTE) & (OPEN_MINUTES - 1)], start, at, price)
                    continue
            me.source = row.source
        if at == me.at and volume == me.volume and price == me.price:
            counts[DUPLICATE] += 1
            continue

        candle = minutes[i, (start // MINUTE) & (OPEN_MINUTES - 1)]
        if candle.start != start:
            _open(candle, start)
        added = 0
        old = False
        if volume != UNKNOWN:
            if me.base == UNKNOWN:
                if _whole(feeds, world, sessions[me.session, 2]):
                    me.base = 0
                else:
                    me.base = volume
                    candle.known_from = max(candle.known_from, at, start + SECOND)
                me.hole = hole
            old = volume < me.base
            if not old:
                me.doubts = 0
            elif at > me.risen:
                me.doubts += 1
                if me.doubts == DOUBTS:
                    counts[TAKEN_BACK] += 1
                    _take_back(me, volume, start, frontier, minutes[i])
                    old = False
            if volume > me.base:
                added = volume - me.base
                _rise(me, volume, at, price)
                if me.hole < hole <= start:
                    candle.known_from = max(candle.known_from, at, start + SECOND)
            if me.hole != hole and not old:
                me.hole = hole
        if row.open_interest != UNKNOWN:
            candle.oi = row.open_interest
        if not (added > 0 or price != me.price or (volume == UNKNOWN and at != me.at)):
            counts[UNCHANGED] += 1
            continue
        _trade(candle, at, price, added, old)
        me.at = at
        me.volume = volume
        me.price = price
    counts[TICKS] += k - begin
    return k


@nb.njit(cache=True)
def _plain(ticks, begin, active, frontier, hole, slots, last, minutes):
    """Fold the run of plain ticks that starts at `begin`; returns the index of the first row that is none.

    A plain tick is one of the active feed, in the open minute of an instrument that the same feed moved last, whose
    total rises with no hole before it. It meets no rule but the sum's, and nearly all ticks of a broker are plain.
    """
    instruments = np.uint64(len(slots))  # as unsigned an index needs no check for being counted from the end
    for k in range(begin, len(ticks)):
        _prefetch(ticks, k + AHEAD)  # type: ignore[call-arg]
        row = ticks[k]
        number = np.uint64(row.instrument)
        if (
            row.kind != _TICK
            or row.source != active
            or row.flags & _PRINT
            or number >= instruments
            or slots[number] < 0
        ):
            return k
        i = np.uint64(slots[number])
        me = last[i]
        start, base, at, price, volume = me.minute, me.base, row.at, row.price, row.day_volume
        candle = minutes[i, np.uint64(start) // np.uint64(MINUTE) & np.uint64(OPEN_MINUTES - 1)]
        if not (
            frontier <= start <= at < start + MINUTE
            and candle.start == start
            and candle.trades > 0
            and me.source == active
            and me.hole == hole
            and me.doubts == 0
            and base != UNKNOWN
            and volume > base
            and price != UNKNOWN
        ):
            return k
        if row.open_interest != UNKNOWN:
            candle.oi = row.open_interest
        _trade(candle, at, price, volume - base, False)
        _rise(me, volume, at, price)
        me.at = at
        me.volume = volume
        me.price = price
    return len(ticks)


@intrinsic
def _prefetch(context, ticks, k):
    """Ask for row `k` of an array of `TICK`, which may lie behind its end, into the cache. A fold waits for memory more
    than for anything else: the rows are 96 bytes apart, and what it does with one is too long for the processor to
    look far ahead by itself.
    """

    def generate(context, builder, signature, arguments):
        number, hint, pointer = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        row = builder.add(builder.ptrtoint(array.data, number), builder.mul(arguments[1], number(TICK.itemsize)))
        ask = ir.FunctionType(ir.VoidType(), [pointer, hint, hint, hint])
        function = cgutils.get_or_insert_function(builder.module, ask, "llvm.prefetch.p0i8")
        for line in (0, 63):  # to read, to keep, as data
            builder.call(
                function, [builder.inttoptr(builder.add(row, number(line)), pointer), hint(0), hint(3), hint(1)]
            )
        return context.get_dummy_value()

    return types.void(ticks, k), generate


@nb.njit(cache=True)
def _rise(me, volume, at, price):
    """A total above the session's highest; what it takes to undo it."""
    me.before = me.base
    me.risen = at
    me.lifted = price
    me.base = volume


@nb.njit(cache=True)
def _take_back(me, volume, start, frontier, open_minutes):
    """Undo the last rise, for the total is only `volume`, as the minute says that begins at `start`."""
    known = me.before != UNKNOWN and me.before <= volume
    candle = open_minutes[(me.risen // MINUTE) & (OPEN_MINUTES - 1)]
    undone = known and frontier <= candle.start <= me.risen < candle.start + MINUTE
    if undone:
        wrong = me.base - me.before
        candle.volume -= wrong
        candle.turnover -= wrong * me.lifted
    if not undone or candle.start != start:
        for j in range(OPEN_MINUTES):
            touched = open_minutes[j]
            if frontier <= touched.start and touched.start + MINUTE > me.risen:
                touched.known_from = max(touched.known_from, touched.start + SECOND)
    me.base = me.before if known else volume
    me.before = UNKNOWN
    me.risen = UNKNOWN
    me.doubts = 0


@nb.njit(cache=True)
def _trade(candle, at, price, added, old):
    """Fold a price, and what it added to the volume, into an open candle."""
    if candle.trades == 0:
        candle.open_at = at
        candle.open = price
        candle.high = price
        candle.low = price
        candle.close_at = at
        candle.close = price
    else:
        if at < candle.open_at:
            candle.open_at = at
            candle.open = price
        candle.high = max(candle.high, price)
        candle.low = min(candle.low, price)
        if at >= candle.close_at and not old:
            candle.close_at = at
            candle.close = price
    candle.trades += 1
    candle.volume += added
    candle.turnover += added * price


@nb.njit(cache=True)
def _open(candle, start):
    candle.start = start
    candle.known_from = start
    candle.trades = 0
    candle.volume = 0
    candle.turnover = 0
    candle.oi = UNKNOWN


@nb.njit(cache=True)
def _told(row, me, shown):
    """Whether a tick tells more than the other feed that moved its instrument last, or less, or nothing."""
    mine = shown[row.source]
    level = mine.at == me.at and mine.volume == me.volume and mine.price == me.price
    moved = mine.volume != row.day_volume or mine.price != row.price
    mine.at = row.at
    mine.volume = row.day_volume
    mine.price = row.price
    if level or row.at > me.at or (row.day_volume > me.base and me.base != UNKNOWN):
        theirs = shown[me.source]
        theirs.at = me.at
        theirs.volume = me.volume
        theirs.price = me.price
        return _NEW
    return _BEHIND if moved else _NOTHING


@nb.njit(cache=True)
def _widen(candle, start, at, price):
    """A price of a minute that its instrument has left: changes nothing where the other feed told it, too."""
    if candle.start != start:
        _open(candle, start)
    if candle.trades == 0:
        _trade(candle, at, price, 0, False)
        return
    if at < candle.open_at:
        candle.open_at = at
        candle.open = price
    candle.high = max(candle.high, price)
    candle.low = min(candle.low, price)


@nb.njit(cache=True)
def let_go(until, waiting, slots, shown, world, counts):
    """Leave out what waits and was stamped at or before `until`; the active feed has told it."""
    kept = 0
    for k in range(world[WAITING]):
        row = waiting[k]
        if row.at > until:
            waiting[kept] = row
            kept += 1
            continue
        counts[STANDBY] += 1
        if row.price != UNKNOWN and not row.flags & _PRINT:
            mine = shown[slots[row.instrument], row.source]
            mine.at = row.at
            mine.volume = row.day_volume
            mine.price = row.price
    world[WAITING] = kept


@nb.njit(cache=True)
def _print(row, start, me, open_minutes, heard, counts):
    """Fold one print whose minute is open."""
    if heard[_H_SESSION] != me.session:
        heard[:] = UNKNOWN
        heard[_H_SESSION] = me.session
        heard[_H_NEXT] = 0
    at, price, size = row.at, row.price, row.day_volume
    if at < heard[_H_FORGOTTEN]:
        counts[LATE] += 1
        return
    key = _key(price, size, row.sequence)
    if at <= heard[_H_NEWEST]:
        for j in range(HEARD):
            if heard[_H_AT + j] == at and heard[_H_KEY + j] == key:
                counts[DUPLICATE] += 1
                return
    j = heard[_H_NEXT]
    heard[_H_NEXT] = (j + 1) % HEARD
    heard[_H_NEWEST] = max(heard[_H_NEWEST], at)
    heard[_H_FORGOTTEN] = max(heard[_H_FORGOTTEN], heard[_H_AT + j])
    heard[_H_AT + j] = at
    heard[_H_KEY + j] = key

    candle = open_minutes[(start // MINUTE) & (OPEN_MINUTES - 1)]
    if candle.start != start:
        _open(candle, start)
    if size != UNKNOWN:
        candle.volume += size
        candle.turnover += size * price
    if row.flags & _VOLUME_ONLY:
        return
    sets = not row.flags & _RANGE_ONLY
    if candle.trades == 0:
        candle.open = price
        candle.high = price
        candle.low = price
        candle.close = price
        candle.open_at = at if sets else _NEVER
        candle.close_at = at if sets else UNKNOWN
    else:
        candle.high = max(candle.high, price)
        candle.low = min(candle.low, price)
        if sets and at < candle.open_at:
            candle.open_at = at
            candle.open = price
        if sets and at >= candle.close_at:
            candle.close_at = at
            candle.close = price
    candle.trades += 1


@nb.njit(cache=True)
def _key(price, size, number):
    """One number for the three; it only tells prints of one instrument and instant apart."""
    mixed = np.uint64(price) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ np.uint64(size)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ np.uint64(number)) * np.uint64(0x94D049BB133111EB)
    return np.int64(mixed ^ (mixed >> np.uint64(31)))


@nb.njit(cache=True)
def _place(at, volume, me, sessions, world, counts):
    """The start of the open minute that holds `at`, or -1: counted, left out."""
    s = world[SESSION]
    if not world[STARTED]:
        counts[EARLY] += 1
        return -1
    if s >= len(sessions) or at < sessions[s, 0]:  # after the calendar's end, or of an earlier day
        counts[OFF_SESSION if s >= len(sessions) else LATE] += 1
        return -1
    if at >= sessions[s, 0] + DAY:  # a later day than market time has reached
        counts[EARLY] += 1
        return -1
    if at < sessions[s, 2] or _resumes(at, sessions[s]) != at:
        if at >= sessions[s, 1] and volume != UNKNOWN:
            _enter(me, s)
            me.base = max(me.base, volume)
            me.hole = world[HOLE]
        counts[OFF_SESSION] += 1
        return -1
    if at >= sessions[s, 3]:
        counts[OFF_SESSION] += 1
        return -1
    if at < world[NEXT]:
        counts[LATE] += 1
        if volume == me.base and volume != UNKNOWN:
            me.hole = world[HOLE]
        return -1
    start = at - (at - sessions[s, 2]) % MINUTE
    if start >= world[NEXT] + OPEN_MINUTES * MINUTE:
        counts[EARLY] += 1
        return -1
    _enter(me, s)
    return start


@nb.njit(cache=True)
def _resumes(at, hours):
    """The end of the pause of a session, a row of the table, that holds `at`; `at` itself where none does."""
    for p in range(HOURS, len(hours), 2):
        if hours[p] <= at < hours[p + 1]:
            return hours[p + 1]
    return at


@nb.njit(cache=True)
def _paused(at, sessions, s):
    """The beginning of the pause of session `s` that `at` lies in or ends; `at` itself where there is none."""
    if s < len(sessions):
        for p in range(HOURS, sessions.shape[1], 2):
            if sessions[s, p] < at <= sessions[s, p + 1]:
                return sessions[s, p]
    return at


@nb.njit(cache=True)
def _enter(me, session):
    """A new session starts the total anew; only a tick that is taken may do so."""
    if session > me.session:
        me.session = session
        me.base = UNKNOWN
        me.before = UNKNOWN
        me.risen = UNKNOWN
        me.doubts = 0


@nb.njit(cache=True)
def _note(row, feeds, past, sessions, world):
    """Take in what a feed says of itself; True where it reaches back into a closed minute."""
    if row.source >= len(feeds):
        return False
    if row.flags == _ACTIVE:
        world[ACTIVE] = row.source
        return False
    feed = feeds[row.source]
    if row.flags == _LIVE:
        if feed.state != _LIVE:
            feed.state = _LIVE
            feed.live_from = row.quoted
            if not _seen(_paused(row.quoted, sessions, world[SESSION]), row.source, feeds, past, world):
                world[HOLE] = max(world[HOLE], row.quoted)
        feed.mark = max(feed.mark, row.at)
        feed.incarnation = np.int64(row.sequence)
        return False
    revise = False
    if feed.state == _LIVE:
        since = min(row.quoted, row.at)
        if row.flags != _CLOSED:
            since = min(since, feed.mark)
        if since > feed.live_from:
            kept = 0
            reached = _paused(world[NEXT], sessions, world[SESSION])
            for j in range(world[PASTS]):
                if past[j, 1] > reached - 2 * MINUTE:
                    past[kept, 0] = past[j, 0]
                    past[kept, 1] = past[j, 1]
                    kept += 1
            if kept == len(past):  # more cuts than we keep: join the two oldest gaps' neighbours by dropping the oldest
                for j in range(1, kept):
                    past[j - 1, 0] = past[j, 0]
                    past[j - 1, 1] = past[j, 1]
                kept -= 1
            past[kept, 0] = feed.live_from
            past[kept, 1] = since
            world[PASTS] = kept + 1
        revise = world[STARTED] == 1 and since < world[NEXT] and since < feed.mark
    feed.state = row.flags
    feed.mark = max(feed.mark, row.at)
    feed.incarnation = np.int64(row.sequence)
    return revise


@nb.njit(cache=True)
def _whole(feeds, world, opened):
    """Whether the feeds together have been LIVE since before a session's open."""
    live = False
    for f in range(len(feeds)):
        live |= feeds[f].state == _LIVE
    return live and world[HOLE] <= opened


@nb.njit(cache=True)
def _seen(moment, source, feeds, past, world):
    """Whether another feed than the one that comes back was LIVE up to this moment, or some feed until just then."""
    seen = False
    for f in range(len(feeds)):
        feed = feeds[f]
        seen |= f != source and feed.state == _LIVE and feed.live_from < moment <= feed.mark + MARKS_APART
    for j in range(world[PASTS]):
        seen |= past[j, 0] < moment <= past[j, 1]
    return seen


@nb.njit(cache=True)
def _begin(at, sessions, world, frontier):
    """Start at the open of the session that holds the first mark, or of the next one."""
    s = 0
    while s < len(sessions) and at >= sessions[s, 3]:
        s += 1
    world[SESSION] = s
    world[NEXT] = sessions[s, 2] if s < len(sessions) else _NEVER
    world[FRONTIER] = frontier
    world[STARTED] = 1


@nb.njit(cache=True)
def _due(frontier, sessions, world):
    """True while the next minute must be closed; steps over sessions that were jumped over whole."""
    while world[SESSION] < len(sessions):
        s = world[SESSION]
        if world[NEXT] == sessions[s, 2] and world[FRONTIER] < sessions[s, 2] and frontier >= sessions[s, 3] + MINUTE:
            world[SESSION] = s + 1
            world[NEXT] = sessions[s + 1, 2] if s + 1 < len(sessions) else _NEVER
        else:
            return world[NEXT] != _NEVER and world[NEXT] + MINUTE <= frontier
    return False


@nb.njit(cache=True)
def coverage(start, end, feeds, past, world):
    """The fraction of [start, end) in which at least one feed was LIVE."""
    begin = np.empty(len(feeds) + len(past), np.int64)
    until = np.empty(len(feeds) + len(past), np.int64)
    n = 0
    for f in range(len(feeds)):
        if feeds[f].state == _LIVE:
            begin[n] = feeds[f].live_from
            until[n] = feeds[f].mark
            n += 1
    for j in range(world[PASTS]):
        begin[n] = past[j, 0]
        until[n] = past[j, 1]
        n += 1
    covered = 0
    reached = start
    while reached < end:
        best = reached
        ahead = end
        for j in range(n):
            if begin[j] <= reached:
                best = max(best, min(until[j], end))
            elif until[j] > begin[j]:
                ahead = min(ahead, begin[j])
        if best > reached:
            covered += best - reached
            reached = best
        else:
            reached = ahead
    return covered / (end - start)


@nb.njit(cache=True)
def _close(out, wrote, sessions, last, minutes, buckets, feeds, past, world):
    """Close the next minute of every instrument, and the longer candles that end with it."""
    s = world[SESSION]
    start = world[NEXT]
    end = start + MINUTE
    following = _resumes(end, sessions[s])
    session = np.int32((sessions[s, 0] + DAY // 2) // DAY)
    covered = coverage(start, end, feeds, past, world)
    if covered > 0:
        world[GAP_SINCE] = 0
    elif world[GAP_SINCE] == 0 or start == sessions[s, 2]:
        world[GAP_SINCE] = start
    for i in range(len(last)):
        me = last[i]
        candle = minutes[i, (start // MINUTE) % OPEN_MINUTES]
        mine = candle.start == start
        row = out[wrote]
        wrote += 1
        row.instrument = me.instrument
        row.interval = 60
        row.start = start
        row.session = session
        row.revision = 0
        row.provenance = _P_LIVE
        row.completeness = covered
        row.padding[:] = 0
        turnover = 0
        if mine and candle.known_from > start:
            row.completeness = min(covered, (end - candle.known_from) / MINUTE)
        if mine and me.doubts > 0:
            row.completeness = min(row.completeness, (min(max(me.risen, start), end) - start) / MINUTE)
        if mine and candle.oi != UNKNOWN:
            me.carry_oi = candle.oi
        row.open_interest = me.carry_oi
        if mine and candle.trades > 0:
            row.open = candle.open
            row.high = candle.high
            row.low = candle.low
            row.close = candle.close
            row.volume = candle.volume
            row.trades = candle.trades
            turnover = candle.turnover
            me.carry = candle.close
        else:
            price = me.carry
            volume = 0
            if mine:
                volume = candle.volume
                turnover = candle.turnover
            if covered == 0 and volume == 0:
                row.provenance = _P_GAP
                row.completeness = 0
                price = UNKNOWN
            row.open = price
            row.high = price
            row.low = price
            row.close = price
            row.volume = volume
            row.trades = 0
        row.vwap = (turnover + row.volume // 2) // row.volume if row.volume > 0 else UNKNOWN
        if mine:
            candle.start = -1
        for r in range(len(ROLLUPS)):
            bucket = buckets[i, r]
            _roll(bucket, row, turnover, start - (start - sessions[s, 2]) % ROLLUPS[r])
            if following >= bucket.start + ROLLUPS[r] or end >= sessions[s, 3]:
                _emit(out[wrote], bucket, row, ROLLUPS[r], session)
                wrote += 1
    world[NEXT] = following
    if end >= sessions[s, 3]:
        world[SESSION] = s + 1
        world[NEXT] = sessions[s + 1, 2] if s + 1 < len(sessions) else _NEVER
    return wrote


@nb.njit(cache=True)
def _roll(bucket, row, turnover, start):
    if bucket.start != start:
        bucket.start = start
        bucket.minutes = 0
        bucket.gaps = 0
        bucket.repaired = 0
        bucket.covered = 0.0
        bucket.open = UNKNOWN
        bucket.high = UNKNOWN
        bucket.low = UNKNOWN
        bucket.close = UNKNOWN
        bucket.volume = 0
        bucket.turnover = 0
        bucket.trades = 0
        bucket.oi = UNKNOWN
    bucket.minutes += 1
    bucket.covered += row.completeness
    bucket.oi = row.open_interest
    if row.provenance == _P_GAP:
        bucket.gaps += 1
    if row.provenance == _P_REPAIRED:
        bucket.repaired += 1
    bucket.volume += row.volume
    bucket.turnover = _sum(bucket.turnover, turnover)
    if row.open == UNKNOWN:
        return
    # A quiet minute gives a longer candle its price only while no trade has: it never widens a traded range.
    if row.trades != 0:
        if bucket.trades == 0:
            bucket.open = row.open
            bucket.high = row.high
            bucket.low = row.low
        else:
            bucket.high = max(bucket.high, row.high)
            bucket.low = min(bucket.low, row.low)
        bucket.close = row.close
    elif bucket.trades == 0:
        bucket.open = row.open
        bucket.high = row.open
        bucket.low = row.open
        bucket.close = row.open
    bucket.trades = _sum(bucket.trades, row.trades)


@nb.njit(cache=True)
def _sum(one, other):
    return UNKNOWN if one == UNKNOWN or other == UNKNOWN else one + other


@nb.njit(cache=True)
def roll_all(rows, session, buckets, out):
    """Roll one instrument's minutes of a session from its open; returns how many longer candles they closed."""
    wrote = 0
    for k in range(len(rows)):
        row = rows[k]
        turnover = 0
        if row.volume > 0:
            turnover = UNKNOWN if row.vwap == UNKNOWN else row.vwap * row.volume
        end = row.start + MINUTE
        following = _resumes(end, session)
        for r in range(len(ROLLUPS)):
            _roll(buckets[r], row, turnover, row.start - (row.start - session[2]) % ROLLUPS[r])
            if following >= buckets[r].start + ROLLUPS[r] or end >= session[3]:
                _emit(out[wrote], buckets[r], row, ROLLUPS[r], row.session)
                wrote += 1
    return wrote


@nb.njit(cache=True)
def _emit(out, bucket, row, interval, session):
    out.instrument = row.instrument
    out.interval = interval // SECOND
    out.start = bucket.start
    out.open = bucket.open
    out.high = bucket.high
    out.low = bucket.low
    out.close = bucket.close
    out.volume = bucket.volume
    out.trades = bucket.trades
    known = bucket.volume > 0 and bucket.turnover != UNKNOWN
    out.vwap = (bucket.turnover + bucket.volume // 2) // bucket.volume if known else UNKNOWN
    out.open_interest = bucket.oi
    out.completeness = bucket.covered / bucket.minutes
    out.session = session
    out.revision = 0
    out.provenance = _P_LIVE
    if bucket.gaps == bucket.minutes:
        out.provenance = _P_GAP
    elif bucket.repaired > 0:
        out.provenance = _P_REPAIRED
    out.padding[:] = 0
    bucket.start = -1
