"""Tables of our own making: issues once a week, premiums that lead the gains by a line, a quiet market."""

from __future__ import annotations

from datetime import date

import numpy as np

from market.ipo.examples import FLOW, ISSUE, MARKET, QUOTE, Tables
from market.sessions import day_number

START = day_number(date(2023, 1, 2))


def tables(count: int = 120, slope: float = 1.0, level: float = 0.0, noise: float = 3.0, every: int = 7) -> Tables:
    """`count` issues, every third of them SME: gain at the open = level + slope x premium + noise, 1 point more at the
    close; opened 8, closed 5 days before they list.
    """
    rng = np.random.default_rng(3)
    issues = np.zeros(count, ISSUE)
    for name in ISSUE.names or ():
        if ISSUE[name].kind == "f":
            issues[name] = rng.uniform(1, 60, count)
    issues["issue"] = [f"issue-{k}" for k in range(count)]
    issues["kind"], issues["segment"] = "ipo", np.where(np.arange(count) % 3 == 2, "sme", "mainboard")
    issues["listed"] = START + 30 + every * np.arange(count)
    issues["opened"], issues["closed"] = issues["listed"] - 8, issues["listed"] - 5
    issues["price"] = 200.0
    premiums = rng.uniform(-5, 50, count)
    issues["gmp_eve"] = issues["gmp_close"] = premiums * 2
    issues["open_points"] = level + slope * premiums + rng.normal(0, 1, count) * noise
    issues["close_points"] = issues["open_points"] + 1.0
    quotes = np.zeros(count * 9, QUOTE)
    quotes["issue"] = np.repeat(issues["issue"], 9)
    quotes["day"] = (issues["listed"][:, None] - np.arange(8, -1, -1)).ravel()
    quotes["gmp"] = (issues["gmp_eve"][:, None] * np.linspace(0.6, 1.0, 9)).ravel()
    days = np.arange(START - 100, START + 40 + every * count)
    market = np.zeros(len(days), MARKET)
    market["day"], market["vix"] = days, 14 + rng.uniform(0, 2, len(days))
    market["nifty"] = 20_000 * np.exp(np.cumsum(rng.normal(0, 0.005, len(days))))
    flows = np.zeros(60, FLOW)
    months = (np.datetime64("2022-06") + np.arange(61)).astype("datetime64[D]").astype(np.int64)
    flows["ended"], flows["net"] = months[1:] - 1, rng.normal(0, 10_000, 60)
    return Tables(issues, quotes, market, flows)
