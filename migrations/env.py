"""Runs migrations on the URL that the caller put into Alembic's configuration."""

from alembic import context
from sqlalchemy import create_engine, text

from app.db.base import Base
from app.db.models import Document
from app.db.session import sqlalchemy_url

assert Document.metadata is Base.metadata
MIGRATION_LOCK = 0x6F706F7261  # "opora": two starts migrate one after the other


def include(_object: object, name: str | None, type_: str, *_rest: object) -> bool:
    """Leave the queue library's own tables to its own schema."""
    return not (type_ == "table" and (name or "").startswith("procrastinate_"))


engine = create_engine(sqlalchemy_url(context.config.get_main_option("sqlalchemy.url") or ""))
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, include_object=include)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
engine.dispose()
