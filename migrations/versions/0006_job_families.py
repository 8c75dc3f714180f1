"""Jobs that have children, options of a job, and what it was put back for.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text, number = sa.Text(), sa.BigInteger()
    op.add_column("job", sa.Column("parent_id", text, nullable=True))
    for name, kind, initial in (
        ("options", postgresql.JSONB(), "{}"),
        ("waiting", sa.Boolean(), "false"),
        ("failures", number, "0"),
        ("deaths", number, "0"),
    ):
        op.add_column("job", sa.Column(name, kind, server_default=initial, nullable=False))
        op.alter_column("job", name, server_default=None)
    op.create_index("ix_job_parent_id_state", "job", ["parent_id", "state"])


def downgrade() -> None:
    op.drop_index("ix_job_parent_id_state", "job")
    for name in ("parent_id", "options", "waiting", "failures", "deaths"):
        op.drop_column("job", name)
