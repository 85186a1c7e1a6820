"""Bourse for Python users: the lake's tables as frames, by their rows or by SQL.

    import bourse

    bourse.read("candles", "RELIANCE", "2016-08-25", "2016-08-26", interval="15m")
    bourse.sql("SELECT session, count(*) FROM newest_candles GROUP BY session")

Nothing need run: the lake is read where it lies, while it is written to.
"""

from bourse.reading import read, sql

__all__ = ["read", "sql"]
