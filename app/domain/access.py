"""Who may read what: principals and the scope that every content query takes."""

from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import InvalidField

PUBLIC = "public"


class Scope(StrEnum):
    """What a credential may be used for."""

    ASK = "ask"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What one caller may read: the documents that share a principal with `principals`.

    Args:
        user_id: The person or service behind the credential.
        principals: `public`, `user:<id>` and `group:<id>` strings.
        scopes: What the credential may do.
    """

    user_id: str
    principals: frozenset[str]
    scopes: frozenset[Scope]

    @property
    def is_admin(self) -> bool:
        """Admins manage, and therefore see, every document."""
        return Scope.ADMIN in self.scopes

    def may_read(self, readers: frozenset[str]) -> bool:
        """Whether a document with these readers is visible to the caller."""
        return self.is_admin or not readers.isdisjoint(self.principals)


def check_principal(principal: str) -> str:
    """Return a reader as given, or raise InvalidField when it is no `public`, `user:`, `group:`."""
    kind, _, name = principal.partition(":")
    if principal == PUBLIC or (kind in ("user", "group") and name.strip()):
        return principal
    raise InvalidField("readers", f"{principal!r} is not `public`, `user:<id>` or `group:<id>`")
