"""What all bodies share."""

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints

T = TypeVar("T")

Name = Annotated[str, StringConstraints(pattern=r"^[\w][\w.-]{0,63}$")]
UserId = Annotated[str, StringConstraints(pattern=r"^[\w][\w.@+-]{0,127}$")]


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None
