"""Accounts: users and what they hold: logins with their refresh tokens, keys, resets, watchlists; and who did what.

Revision: 0002. Of every token there is only a digest; of a password an argon2 hash with its salt and cost in it.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0002"
down_revision = "0001"

TABLES = (
    "users", "recovery_codes", "sessions", "refresh_tokens", "api_keys", "reset_tokens", "watchlists", "tiers", "audit",
)  # fmt: skip


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("tier", sa.Text, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("totp_secret", sa.Text),
        sa.Column("totp_pending", sa.Text),
        sa.Column("totp_step", sa.BigInteger, nullable=False, server_default="0"),
        _instant("created_at"),
    )
    op.create_table("recovery_codes", _user(primary_key=True), _digest())
    op.create_table(
        "sessions",
        sa.Column("id", sa.Text, primary_key=True),
        _user(),
        _instant("created_at"),
        _instant("used_at"),
        _instant("expires_at"),
        _instant("ended_at", nullable=True),
        sa.Column("because", sa.Text, nullable=False, server_default=""),
        sa.Column("agent", sa.Text, nullable=False),
    )
    op.create_table(
        "refresh_tokens",
        _digest(),
        sa.Column("session", sa.Text, sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
        _instant("expires_at"),
        _instant("used_at", nullable=True),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        _user(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        _instant("created_at"),
        _instant("expires_at", nullable=True),
        _instant("revoked_at", nullable=True),
        sa.Column("by", sa.Text, nullable=False),
    )
    op.create_table("reset_tokens", _digest(), _user(), _instant("expires_at"))
    op.create_table(
        "watchlists",
        _user(primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("symbols", ARRAY(sa.Text), nullable=False),
    )
    op.create_table(
        "tiers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("requests_per_second", sa.Double, nullable=False),
        sa.Column("burst", sa.Integer, nullable=False),
        sa.Column("connections", sa.Integer, nullable=False),
        sa.Column("symbols", sa.Integer, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _instant("at"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    for table in ("sessions", "api_keys", "reset_tokens"):
        op.create_index(f"{table}_of", table, ["user_id"])


def downgrade() -> None:
    """Remove them."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _user(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, primary_key=primary_key
    )


def _digest() -> sa.Column[bytes]:
    return sa.Column("digest", sa.LargeBinary, primary_key=True)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
