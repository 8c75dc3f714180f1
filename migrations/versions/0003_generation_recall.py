"""How well each generation finds what an exact search finds.

Generations of earlier releases were all exact, so 1 is the truth for them.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "generation",
        sa.Column("recall", sa.Double(), server_default=sa.text("1"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("generation", "recall")
