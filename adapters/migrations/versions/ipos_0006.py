"""The IPO desk: a page that tells of one issue alone is known by its key, too.

Revision: 0006. Of the pages there are, NSE's bids have the symbol in their address; all others have none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SYMBOLS = """
UPDATE ipo_pages SET key = replace(substring(url FROM '[?&]symbol=([^&]+)'), '%26', '&')
WHERE source = 'nse' AND kind = 'subscription' AND url ~ '[?&]symbol=[^&]'
"""


def upgrade() -> None:
    """Add the column."""
    op.add_column("ipo_pages", sa.Column("key", sa.Text, nullable=False, server_default=""))
    op.execute(SYMBOLS)
    _known_by("key")


def downgrade() -> None:
    """Remove it; of equal pages of two issues the one that was seen last stays."""
    op.execute(
        "DELETE FROM ipo_pages one USING ipo_pages other WHERE (one.digest, one.source, one.kind)"
        " = (other.digest, other.source, other.kind) AND (one.seen_at, one.key) < (other.seen_at, other.key)"
    )
    _known_by()
    op.drop_column("ipo_pages", "key")


def _known_by(*more: str) -> None:
    op.drop_constraint("ipo_pages_pkey", "ipo_pages")
    op.create_primary_key("ipo_pages_pkey", "ipo_pages", ["digest", "source", "kind", *more])
    op.drop_index("ipo_pages_seen", "ipo_pages")
    op.create_index("ipo_pages_seen", "ipo_pages", ["source", "kind", *more, "seen_at"])
