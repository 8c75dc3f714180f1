"""The white space between a chunk and the next one, so that neighbours can be joined exactly.

Chunks of earlier releases have none and are not joined until their document is read again.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chunk", sa.Column("gap", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("chunk", "gap")
