"""Bodies of users and groups."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.api.schemas.base import Body, UserId
from app.db.repositories.principals import PrincipalView
from app.domain.access import Role


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a character that cannot be seen")
    return text


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, strip_whitespace=True),
    AfterValidator(_printable),
]
GroupId = Text
Member = Annotated[Text, StringConstraints(pattern=r"^(user:\w[\w.@+-]{0,127}|group:\S.*)$")]
Many = Field(max_length=10_000)


class UserChange(Body):
    """What may be changed of a user. `roles` and `groups` replace those of before."""

    name: Text | None = None
    roles: list[Role] = []
    groups: Annotated[list[GroupId], Many] = []
    disabled: bool = False
    issuer: Text | None = None
    subject: Text | None = None


class NewUser(UserChange):
    """A user to be made; with `issuer` and `subject` it is who signs in as that."""

    user_id: UserId


class UserView(BaseModel):
    """A user. `groups` are those of Opora; a token adds those that it names."""

    user_id: str
    name: str | None
    roles: list[Role]
    groups: list[str]
    disabled: bool
    issuer: str | None
    subject: str | None
    created_at: datetime

    @classmethod
    def of(cls, view: PrincipalView) -> "UserView":
        """From the stored rows."""
        row = view.row
        return cls(
            user_id=view.name,
            name=row.name,
            roles=[Role(role) for role in row.roles],
            groups=[group.removeprefix("group:") for group in view.related],
            disabled=row.disabled,
            issuer=row.issuer,
            subject=row.subject,
            created_at=row.created_at,
        )


class GroupChange(Body):
    """What may be changed of a group; its members have its roles."""

    name: Text | None = None
    members: Annotated[list[Member], Many] = []
    roles: list[Role] = []
    disabled: bool = False


class NewGroup(GroupChange):
    """A group to be made."""

    group_id: GroupId


class GroupView(BaseModel):
    """A group, with the users and groups in it."""

    group_id: str
    name: str | None
    members: list[str]
    roles: list[Role]
    disabled: bool
    created_at: datetime

    @classmethod
    def of(cls, view: PrincipalView) -> "GroupView":
        """From the stored rows."""
        row = view.row
        return cls(
            group_id=view.name,
            name=row.name,
            members=list(view.related),
            roles=[Role(role) for role in row.roles],
            disabled=row.disabled,
            created_at=row.created_at,
        )
