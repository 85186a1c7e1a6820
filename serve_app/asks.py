"""Asks: what a client of the stream may say, read and checked. Source: docs/stream.md."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgpack
import orjson

from market import frames
from market.errors import BadValue

MOST_SYMBOLS = 3000
NAME_LENGTH = 64
CHANNELS = ("candles", "analysis", "signals", "alerts")
FASTEST = 20
_SOURCES = ("symbols", "watchlist", "index")

Op = Literal["set", "subscribe", "unsubscribe", "join", "leave", "resume", "ping"]
_MEMBERS: dict[str, tuple[str, ...]] = {
    "set": ("rate", "fields"),
    "subscribe": _SOURCES,
    "unsubscribe": (*_SOURCES, "all"),
    "join": ("channel", "symbols", "interval", "after"),
    "leave": ("channel",),
    "resume": ("session", "sequence"),
    "ping": (),
}


class Ask(NamedTuple):
    """One message: what is asked for, the number its answer is to carry, and the other members, checked."""

    op: str
    id: int | None
    said: dict[str, Any]


def read(message: str | bytes) -> dict[str, Any]:
    """The map in a JSON text or in MessagePack. Raises BadValue."""
    allowed = "a JSON object or a MessagePack map with a member op"
    try:
        found = orjson.loads(message) if isinstance(message, str) or message[:1] == b"{" else msgpack.unpackb(message)
    except (ValueError, RecursionError, UnicodeError, msgpack.UnpackException, TypeError):
        raise BadValue("message", _shown(message), allowed) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise BadValue("message", _shown(message), allowed)
    return found


def check(said: dict[str, Any]) -> Ask:
    """A map as an ask. Raises BadValue, which names the first member that is wrong."""
    op, number = said.get("op"), said.get("id")
    if not isinstance(op, str) or op not in _MEMBERS:
        raise BadValue("op", _shown(op), f"one of {', '.join(_MEMBERS)}")
    if number is not None and (type(number) is not int or not 0 <= number < 1 << 53):
        raise BadValue("id", _shown(number), "a whole number from 0 on")
    rest = {name: value for name, value in said.items() if name not in ("op", "id")}
    for name in rest:
        if name not in _MEMBERS[op]:
            raise BadValue("member", _shown(name), f"{op} takes {', '.join(_MEMBERS[op]) or 'nothing more'}")
    for name, value in rest.items():
        _CHECKS[name](name, value)
    if op in ("subscribe", "unsubscribe") and len(rest) != 1:
        raise BadValue("member", ", ".join(rest) or "nothing", f"one of {', '.join(_MEMBERS[op])}")
    for name in {"join": ("channel",), "leave": ("channel",), "resume": ("session", "sequence")}.get(op, ()):
        if name not in rest:
            raise BadValue("member", "nothing", f"a {name}")
    return Ask(op, number, rest)


def _names(name: str, value: Any) -> None:
    good = isinstance(value, list) and all(isinstance(one, str) and len(one) <= NAME_LENGTH for one in value)
    if value is None and name == "symbols":
        return
    if not good or len(value) > MOST_SYMBOLS:
        raise BadValue(name, _shown(value), f"a list of at most {MOST_SYMBOLS} names")


def _fields(name: str, value: Any) -> None:
    good = isinstance(value, list) and value and all(isinstance(one, str) and one in frames.NAMES for one in value)
    if value is not None and not good:
        raise BadValue(name, _shown(value), f"null or some of {', '.join(frames.NAMES)}")


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= 1024:
        raise BadValue(name, _shown(value), "a text of 1 to 1024 characters")


def _maybe(name: str, value: Any) -> None:
    if value is not None:
        _text(name, value)


def _rate(name: str, value: Any) -> None:
    if type(value) is not int or not 1 <= value <= FASTEST:
        raise BadValue(name, _shown(value), f"a whole number, 1 to {FASTEST} a second")


def _channel(name: str, value: Any) -> None:
    if not isinstance(value, str) or value not in CHANNELS:
        raise BadValue(name, _shown(value), f"one of {', '.join(CHANNELS)}")


def _sequence(name: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise BadValue(name, _shown(value), "a whole number from 0 on")


def _all(name: str, value: Any) -> None:
    if value is not True:
        raise BadValue(name, _shown(value), "true")


_CHECKS = {
    "rate": _rate, "fields": _fields, "symbols": _names, "watchlist": _text, "index": _text, "all": _all,
    "channel": _channel, "interval": _maybe, "after": _maybe, "session": _text, "sequence": _sequence,
}  # fmt: skip


def _shown(value: object) -> str:
    return str(value)[:40]
