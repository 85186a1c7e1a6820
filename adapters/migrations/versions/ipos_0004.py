"""The IPO desk: from where on each user calls an issue profitable, alerts for one user, and the version of the book.

Revision: 0004. The version grows by one with every transaction that changed a row an answer is made of, whoever wrote
it; when a page was seen, what the judges know, and whether an alert was sent, is no such change.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = ("ipo_thresholds", "ipo_version")

ANSWERS = (
    "ipo_issues", "ipo_names", "ipo_premiums", "ipo_bids", "ipo_overrides", "ipo_validations", "ipo_predictions",
    "ipo_outcomes", "ipo_reviews",
)  # fmt: skip
"""Of which every change counts."""

CHANGED = """
CREATE FUNCTION ipo_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE ipo_version SET number = number + 1, "by" = pg_current_xact_id()
    WHERE "by" IS DISTINCT FROM pg_current_xact_id();
    RETURN NULL;
END $$
"""
TRIGGER = "CREATE TRIGGER {table}_{when} AFTER {when} ON {table} FOR EACH ROW {where} EXECUTE FUNCTION ipo_changed()"
OTHER = "WHEN (OLD.* IS DISTINCT FROM NEW.*)"
TURNED = "WHEN (OLD.trouble IS DISTINCT FROM NEW.trouble OR OLD.told IS DISTINCT FROM NEW.told)"


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "ipo_thresholds",
        sa.Column("user_id", sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("points", sa.Double, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("joined", sa.Text, nullable=False),
    )
    op.add_column("ipo_alerts", sa.Column("user_id", sa.Text, nullable=False, server_default=""))
    op.drop_constraint("ipo_alerts_pkey", "ipo_alerts")
    op.create_primary_key("ipo_alerts_pkey", "ipo_alerts", ["issue", "event", "about", "user_id"])
    op.execute('CREATE TABLE ipo_version (number bigint NOT NULL, "by" xid8)')
    op.execute("INSERT INTO ipo_version VALUES (1, NULL)")
    op.execute(CHANGED)
    for table in (*ANSWERS, "ipo_pages"):
        op.execute(TRIGGER.format(table=table, when="insert", where=""))
        op.execute(TRIGGER.format(table=table, when="delete", where=""))
        op.execute(TRIGGER.format(table=table, when="update", where=TURNED if table == "ipo_pages" else OTHER))


def downgrade() -> None:
    """Remove them, and with them the alerts for one user."""
    op.execute("DROP FUNCTION ipo_changed() CASCADE")
    op.execute("DELETE FROM ipo_alerts WHERE user_id <> ''")
    op.drop_constraint("ipo_alerts_pkey", "ipo_alerts")
    op.drop_column("ipo_alerts", "user_id")
    op.create_primary_key("ipo_alerts_pkey", "ipo_alerts", ["issue", "event", "about"])
    for table in TABLES:
        op.drop_table(table)
