"""The IPO desk: on which day of bidding bids stand.

Revision: 0007. `ipo_rests`: days from Monday to Friday without bidding. `ipo_bidding`: `ipo_bids`, each on the last day
of bidding up to the one it was told of, and never after the closing day; of what so comes to stand in one place the
newest. What was told before the first day of bidding stands nowhere.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TABLES, VIEWS = ("ipo_rests",), ("ipo_bidding",)

BIDDING = """
CREATE VIEW ipo_bidding AS
SELECT DISTINCT ON (b.issue, b.source, b.book, stands.day, b.category)
    b.issue, b.source, b.book, stands.day, b.category, b.times, b.offered, b.bid, b.at, b.page, b.place
FROM ipo_bids b JOIN ipo_issues i ON i.id = b.issue
CROSS JOIN LATERAL (
    SELECT max(least(b.day, i.closes) - back) AS day FROM generate_series(0, 14) back
    WHERE extract(isodow FROM least(b.day, i.closes) - back) < 6
    AND NOT EXISTS (SELECT 1 FROM ipo_rests WHERE ipo_rests.day = least(b.day, i.closes) - back)
) stands
WHERE stands.day >= coalesce(i.opens, stands.day)
ORDER BY b.issue, b.source, b.book, stands.day, b.category, b.at DESC, b.day DESC
"""
CHANGED = "CREATE TRIGGER ipo_rests_{when} AFTER {when} ON ipo_rests FOR EACH ROW EXECUTE FUNCTION ipo_changed()"


def upgrade() -> None:
    """Make them."""
    op.create_table("ipo_rests", sa.Column("day", sa.Date, primary_key=True))
    op.execute(BIDDING)
    for when in ("insert", "delete"):
        op.execute(CHANGED.format(when=when))


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP VIEW ipo_bidding")
    op.drop_table("ipo_rests")
