"""What each layer of the check of a sentence found, and the sum of the cited document.

Citations of earlier releases have neither.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answer_citation", sa.Column("layers", JSONB(), nullable=True))
    op.add_column("answer_citation", sa.Column("document_sha256", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("answer_citation", "document_sha256")
    op.drop_column("answer_citation", "layers")
