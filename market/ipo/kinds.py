"""Kinds: what is issued, and the part of the exchange it comes to. Whoever does not know says None."""

from __future__ import annotations

from enum import StrEnum


class Segment(StrEnum):
    """The part of the exchange an issue comes to. Their rules, sizes and gains differ: they are never mixed."""

    MAINBOARD = "mainboard"
    SME = "sme"


class Kind(StrEnum):
    """What is issued. Only `IPO` is for models and alerts: a unit of a trust may cost ten lakh rupees."""

    IPO = "ipo"
    FPO = "fpo"
    REIT = "reit"
    INVIT = "invit"
    OTHER = "other"
