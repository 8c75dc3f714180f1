"""The declarative base and what all tables share."""

import secrets
import time
from datetime import UTC, datetime

from sqlalchemy import DateTime, MetaData
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import BigInteger, Text


class Base(DeclarativeBase):
    """Declarative base; names of constraints follow one scheme so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: DateTime(timezone=True),
        str: Text,
        int: BigInteger,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(BigInteger),
        dict[str, float]: JSONB,
        dict[str, object]: JSONB,
        list[list[object]]: JSONB,
    }


def new_id(prefix: str) -> str:
    """Return an opaque id that sorts by its time of creation (milliseconds, then random)."""
    return f"{prefix}_{time.time_ns() // 1_000_000:011x}{secrets.token_hex(8)}"


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)
