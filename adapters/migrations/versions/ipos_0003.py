"""The IPO desk: issues, what pages told of them, what was believed and predicted, and what came.

Revision: 0003. Instants are ns UTC, money 1/10,000 of a rupee. A page's bytes lie as a file; its row says what it told.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0003"
down_revision = "0002"

TABLES = (
    "ipo_issues", "ipo_names", "ipo_pages", "ipo_premiums", "ipo_bids", "ipo_overrides", "ipo_validations",
    "ipo_predictions", "ipo_outcomes", "ipo_reviews", "ipo_alerts", "ipo_state",
)  # fmt: skip


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "ipo_issues",
        sa.Column("id", sa.Text, primary_key=True),
        _text("name"),
        *(_text(name, nullable=True) for name in ("segment", "kind", "symbol", "code", "isin", "exchange")),
        *(_whole(name, nullable=True) for name in ("low", "high", "lot", "shares")),
        sa.Column("size_crore", sa.Double),
        *(sa.Column(name, sa.Date) for name in ("opens", "closes", "allots", "refunds", "lists")),
        *(_whole(name, nullable=True) for name in ("listed_at", "closed_at")),
        _text("status"),
        _text("state"),
        _whole("first_at"),
        _whole("seen_at"),
        sa.Column("origins", JSONB, nullable=False),
    )
    op.create_index("ipo_issues_lists", "ipo_issues", ["lists"])
    op.create_table("ipo_names", _key("source"), _key("name"), _issue(primary_key=True), _whole("first_at"))
    op.create_table(
        "ipo_pages",
        _key("digest"),
        _key("source"),
        _key("kind"),
        _text("url"),
        _whole("fetched_at"),
        _whole("seen_at"),
        _whole("size"),
        _text("trouble"),
        sa.Column("told", JSONB, nullable=False),
        sa.Column("glance", JSONB),
    )
    op.create_index("ipo_pages_seen", "ipo_pages", ["source", "kind", "seen_at"])
    op.create_table(
        "ipo_premiums",
        _issue(),
        _text("source"),
        _whole("at"),
        sa.Column("stamped", sa.Boolean, nullable=False),
        *(_whole(name, nullable=True) for name in ("gmp", "kostak", "sauda", "rating")),
        _text("page"),
        _text("place"),
        sa.UniqueConstraint("issue", "source", "at", "gmp", postgresql_nulls_not_distinct=True),
    )
    op.create_table(
        "ipo_bids",
        _issue(primary_key=True),
        _key("source"),
        _key("book"),
        sa.Column("day", sa.Date, primary_key=True),
        _key("category"),
        sa.Column("times", sa.Double),
        *(_whole(name, nullable=True) for name in ("offered", "bid")),
        _whole("at"),
        _text("page"),
        _text("place"),
    )
    op.create_table(
        "ipo_overrides",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _issue(),
        _whole("gmp"),
        sa.Column("pinned", sa.Boolean, nullable=False),
        _text("by"),
        _text("because"),
        _whole("at"),
        _whole("ended_at", nullable=True),
        _text("ended_by"),
    )
    op.create_index("ipo_overrides_of", "ipo_overrides", ["issue", "id"])
    op.create_table(
        "ipo_validations",
        _issue(primary_key=True),
        _whole("at", primary_key=True),
        _whole("gmp", nullable=True),
        sa.Column("points", sa.Double),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("override", sa.BigInteger, sa.ForeignKey("ipo_overrides.id")),
        sa.Column("record", JSONB, nullable=False),
    )
    op.create_table(
        "ipo_predictions",
        _issue(primary_key=True),
        _key("task"),
        _key("model"),
        _whole("at", primary_key=True),
        sa.Column("decided", sa.Date, nullable=False),
        sa.Column("gmp_points", sa.Double, nullable=False),
        sa.Column("predicted_points", sa.Double, nullable=False),
        *(sa.Column(name, sa.Double) for name in ("low_points", "high_points", "p_gain_10", "p_loss")),
        sa.Column("served", sa.Boolean, nullable=False),
        sa.Column("gate", JSONB, nullable=False),
    )
    op.create_table(
        "ipo_outcomes",
        _issue(primary_key=True),
        _whole("at"),
        _text("segment"),
        *(sa.Column(name, sa.Double) for name in ("open_points", "close_points")),
        _whole("scored_at"),
    )
    op.create_table(
        "ipo_reviews",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("told", JSONB, nullable=False),
        sa.Column("candidates", ARRAY(sa.Text), nullable=False),
        _text("why"),
        sa.Column("readings", JSONB, nullable=False),
        _whole("first_at"),
        _text("issue", nullable=True),
        _text("by"),
        _text("because"),
        _whole("decided_at", nullable=True),
    )
    op.create_table(
        "ipo_alerts",
        _issue(primary_key=True),
        _key("event"),
        _key("about"),
        _whole("at"),
        sa.Column("alert", JSONB, nullable=False),
        _whole("sent_at", nullable=True),
    )
    op.create_table("ipo_state", _key("name"), sa.Column("state", JSONB, nullable=False))


def downgrade() -> None:
    """Remove them."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, **more: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, **{"nullable": False, **more})


def _issue(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column("issue", sa.Text, sa.ForeignKey("ipo_issues.id"), nullable=False, primary_key=primary_key)
