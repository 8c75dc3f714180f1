"""Bring a database to the newest schema."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from app.db.session import libpq_url, short_reason
from app.domain.errors import DatabaseUnavailable

_SCRIPTS = Path(__file__).parents[2] / "migrations"


def alembic_config(url: str) -> Config:
    """Alembic's configuration for a database URL."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Run the missing migrations; two callers at once wait for each other.

    Raises:
        DatabaseUnavailable: PostgreSQL cannot be reached or refuses the credentials.
    """
    try:
        command.upgrade(alembic_config(url), revision)
    except OperationalError as error:
        raise DatabaseUnavailable(
            f"PostgreSQL does not answer: {short_reason(error)}; check OPORA_DATABASE__URL"
        ) from error


def downgrade(url: str, revision: str) -> None:
    """Undo migrations down to a revision."""
    command.downgrade(alembic_config(url), revision)


def current_and_newest(url: str) -> tuple[str | None, str | None]:
    """The revision that the database has and the one that the code wants.

    Raises:
        DatabaseUnavailable: PostgreSQL cannot be reached.
    """
    newest = ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    try:
        with psycopg.connect(libpq_url(url), connect_timeout=10) as connection:
            found = connection.execute("SELECT to_regclass('alembic_version')").fetchone()
            if found is None or found[0] is None:
                return None, newest
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return (str(row[0]) if row else None), newest
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"PostgreSQL does not answer: {short_reason(error)}") from error
