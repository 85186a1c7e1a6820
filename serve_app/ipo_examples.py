"""Examples of what the IPO desk answers, for the description of our paths: without a null, for OpenAPI's writer drops
those. No issue in them is a company's.
"""

from __future__ import annotations

from typing import Any

ROW: dict[str, Any] = {
    "id": "amber-sons-foundry-2024",
    "name": "Amber & Sons Foundry",
    "symbol": "AMBERSONS",
    "code": "599901",
    "isin": "INE0AAA01011",
    "segment": "mainboard",
    "kind": "ipo",
    "exchange": "NSE",
    "status": "listed",
    "told": "listed",
    "opens": "2024-12-30",
    "closes": "2025-01-01",
    "allots": "2025-01-02",
    "lists": "2025-01-06",
    "low": 304.0,
    "high": 321.0,
    "lot": 46,
    "shares": 92867945,
    "size_crore": 2981.0,
    "gmp": 41.5,
    "points": 12.9283,
    "confidence": 0.61,
    "disagreement_points": 1.2,
    "age_seconds": 6780.0,
    "validated_at": "2025-01-01T05:30:00Z",
    "overridden": False,
    "profitable": True,
    "expected": {
        "task": "open",
        "model": "ours",
        "decided": "2025-01-03",
        "points": 10.4,
        "low": 1.9,
        "high": 19.6,
        "p_gain_10": 0.53,
        "p_loss": 0.06,
    },
    "subscription": {"times": 1.57, "day": "2025-01-01", "source": "nse", "book": "all"},
    "open_points": 10.5296,
    "close_points": 12.1495,
}
BOARD: dict[str, Any] = {
    "application/json": {
        "example": {
            "total": 37,
            "next": "WyItb3BlbnMiLCAiMjAyNC0xMi0zMCIsICJhbWJlci1zb25zLWZvdW5kcnktMjAyNCJd",
            "thresholds": {"points": 10.0, "amount": 20.0, "joined": "or", "own": False},
            "precision": {"issues": 412, "flagged": 240, "precision": 0.7, "recall": 0.9, "accuracy": 0.75},
            "issues": [ROW],
        }
    }
}
