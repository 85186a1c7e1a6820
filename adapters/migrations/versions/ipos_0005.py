"""The IPO desk: which issues turned out to be another one, who said so and why.

Revision: 0005. `double`: the id that is no more; `issue`: what it was joined to; `left`: rows of it that found their
place taken.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"

TABLES = ("ipo_joins",)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "ipo_joins",
        sa.Column("double", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("issue", "by", "because")),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("left", JSONB, nullable=False),
    )
    op.create_index("ipo_joins_of", "ipo_joins", ["issue"])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("ipo_joins")
