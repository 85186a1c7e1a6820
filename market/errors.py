"""Errors, named after what the caller does next.

    BourseError
    ├── BadPayload      keep the payload, tell a human; the next message may be fine
    │   └── LayoutChanged   ... a page that is laid out otherwise: none of its like is data until a human has looked
    ├── BadValue        a caller's argument is wrong: show it what is allowed
    │   ├── BadSetting      ... in cluster.yaml, at a path
    │   ├── BadQuery        ... a query that cannot be answered
    │   ├── TooOld          ... a cursor from before what can still be had
    │   └── UnknownSymbol   ... a symbol nobody listed
    ├── LineDown        try again later
    │   ├── NotYet          ... nothing is broken: what is asked for comes by itself
    │   ├── BudgetSpent     ... when the budget begins anew, in `after` seconds
    │   └── OutcomeUnknown  ... but look first whether the request was carried out
    ├── TooMany         come back in `wait` seconds: nothing is wrong but how often it is asked
    ├── Rejected        a vendor will not do what we asked; asking again does not help
    ├── AuthRequired    a person must log in; trying again does not help
    ├── Denied          whoever asks may not: come with another credential
    ├── UnexplainedBreak    prices that no model may learn from: name the corporate action, or cut the span
    ├── LeaseLost       another owner took over: stop, write nothing more
    ├── LogWentBack     the bus lost what a reader has already read: recover before going on
    └── StoreRefused    a store may not be opened as it is: a human decides

Every constructor hands all its arguments to `Exception.__init__`, so that an error survives pickling between processes.
"""

from __future__ import annotations

from datetime import date
from typing import Any

MOST_REASON = 500
"""Characters of a `BadPayload.reason`: it goes into a line of the log, and no vendor chooses how long that is."""


class BourseError(Exception):
    """The root of everything Bourse raises on purpose."""


class BadPayload(BourseError):
    """A vendor's message that cannot be read.

    `rest` holds the rows of the message that could be read all the same (a `TICK` array), or None. `reason` may quote
    the message, and is cut to `MOST_REASON` characters.
    """

    def __init__(self, source: str, payload: bytes, reason: str, rest: Any = None) -> None:
        reason = reason if len(reason) <= MOST_REASON else f"{reason[: MOST_REASON - 3]}..."
        super().__init__(source, payload, reason, rest)
        self.source, self.payload, self.reason, self.rest = source, payload, reason, rest

    def __str__(self) -> str:
        return f"{self.source}: {self.reason} ({len(self.payload)} bytes, first {self.payload[:16].hex()})"


class LayoutChanged(BadPayload):
    """A page that gives nothing where it gave rows, or numbers far from its last good ones: an alarm, not data."""


class BadValue(BourseError):
    """An argument that is not allowed; says what is."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(name, value, allowed)
        self.name, self.value, self.allowed = name, value, allowed

    def __str__(self) -> str:
        return f"{self.name}: {self.value!r} is not allowed; {self.allowed}"


class BadSetting(BadValue):
    """A key or value of cluster.yaml that is not allowed; `name` is its path in the file."""


class BadQuery(BadValue):
    """A query that cannot be answered; `allowed` is the database's own word for it, or what a query must be."""

    def __str__(self) -> str:
        return f"{self.name}: {self.allowed}"


class UnknownSymbol(BadValue):
    """A symbol that is not in the universe."""


class TooOld(BadValue):
    """A cursor from before what can still be had here; `allowed` says where the rest is."""


class LineDown(BourseError):
    """A connection that is not there now. Retry with backoff, but not before `after` seconds, where the other side
    names them.
    """

    def __init__(self, line: str, reason: str, after: float = 0.0) -> None:
        super().__init__(line, reason, after)
        self.line, self.reason, self.after = line, reason, after

    def __str__(self) -> str:
        return f"{self.line}: {self.reason}"


class NotYet(LineDown):
    """What is asked for is not there yet, and comes by itself."""


class BudgetSpent(LineDown):
    """What may be spent in a day is spent. `after`: seconds until the next day's budget."""


class OutcomeUnknown(LineDown):
    """The other side took a request and did not say what became of it."""


class TooMany(BourseError):
    """Somebody asks too often; `wait` in seconds."""

    def __init__(self, what: str, wait: float) -> None:
        super().__init__(what, wait)
        self.what, self.wait = what, wait

    def __str__(self) -> str:
        return f"too many {self.what}: come back in {self.wait:.0f} s"


class Rejected(BourseError):
    """A vendor will not do what we asked; asking again does not help. `code`: the vendor's own word for it."""

    def __init__(self, vendor: str, code: str, message: str) -> None:
        super().__init__(vendor, code, message)
        self.vendor, self.code, self.message = vendor, code, message

    def __str__(self) -> str:
        return f"{self.vendor}: {self.code}: {self.message}"


class AuthRequired(BourseError):
    """A vendor refused our token; `remedy` says how to log in."""

    def __init__(self, vendor: str, remedy: str) -> None:
        super().__init__(vendor, remedy)
        self.vendor, self.remedy = vendor, remedy

    def __str__(self) -> str:
        return f"{self.vendor}: login needed; {self.remedy}"


class Denied(BourseError):
    """Whoever asks may not. `kind`: credential (none, or no good), code (a second factor is missing or wrong), role or
    scope (it is not enough).
    """

    def __init__(self, kind: str, reason: str, allowed: str) -> None:
        super().__init__(kind, reason, allowed)
        self.kind, self.reason, self.allowed = kind, reason, allowed

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}; {self.allowed}"


class UnexplainedBreak(BourseError):
    """A span of prices crosses a day that no corporate action explains. `adjusted`: open over previous close."""

    def __init__(self, symbol: str, session: date, adjusted: float, suggestion: str) -> None:
        super().__init__(symbol, session, adjusted, suggestion)
        self.symbol, self.session, self.adjusted, self.suggestion = symbol, session, adjusted, suggestion

    def __str__(self) -> str:
        broke = f"{self.symbol} opened on {self.session} at {self.adjusted:.4g} times the close before"
        return f"{broke}, and no corporate action explains it ({self.suggestion}); name it, or cut the span there"


class LeaseLost(BourseError):
    """Another owner holds the lease."""

    def __init__(self, lease: str) -> None:
        super().__init__(lease)
        self.lease = lease

    def __str__(self) -> str:
        return f"lease {self.lease} is held by another owner"


class LogWentBack(BourseError):
    """A reader's cursor is newer than the last entry of its stream."""

    def __init__(self, stream: str, cursor: str, last: str) -> None:
        super().__init__(stream, cursor, last)
        self.stream, self.cursor, self.last = stream, cursor, last

    def __str__(self) -> str:
        return f"{self.stream} ends at {self.last}, but {self.cursor} was already read"


class StoreRefused(BourseError):
    """A store that may not be opened as it is."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(store, reason)
        self.store, self.reason = store, reason

    def __str__(self) -> str:
        return f"{self.store}: {self.reason}"
