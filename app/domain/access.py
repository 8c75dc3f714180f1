"""Who may do and read what: principals, roles, scopes, and the one check of every route."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import Forbidden, InvalidField

PUBLIC = "public"


class Scope(StrEnum):
    """What a credential may be used for."""

    ASK = "ask"
    INGEST = "ingest"
    AUDIT = "audit"
    ADMIN = "admin"


class Role(StrEnum):
    """What a person is in the house; it says which scopes the person's access tokens have."""

    READER = "reader"
    EDITOR = "editor"
    AUDITOR = "auditor"
    ADMIN = "admin"


_SCOPES = {
    Role.READER: {Scope.ASK},
    Role.EDITOR: {Scope.ASK, Scope.INGEST},
    Role.AUDITOR: {Scope.AUDIT},
    Role.ADMIN: {Scope.ADMIN},
}


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """What these roles may be used for together; without any role one is a reader."""
    return frozenset().union(*(_SCOPES[role] for role in {*roles} or {Role.READER}))


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom an access token names; `issuer` and `subject` together are the person.

    Args:
        groups: As the token names them, without `group:`.
    """

    issuer: str
    subject: str
    name: str | None
    groups: frozenset[str]


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

    def may_edit(self, collection_readers: Iterable[str], editors: Iterable[str]) -> bool:
        """Whether the caller may add and change a collection's documents, with `ingest`.

        Where a collection names no editors, its readers are.
        """
        named = frozenset(editors) or frozenset(collection_readers)
        return self.is_admin or not named.isdisjoint(self.principals)


def authorize(caller: AccessScope, *scopes: Scope) -> None:
    """Let a caller pass that has one of the scopes, or is an admin.

    Raises:
        Forbidden: It has none of them; the message names them.
    """
    if not caller.scopes.intersection({*scopes, Scope.ADMIN}):
        wanted = " or ".join(f"`{scope}`" for scope in scopes) or "`admin`"
        raise Forbidden(f"this call needs the scope {wanted}")


def check_principal(principal: str) -> str:
    """Return a reader as given, or raise InvalidField when it is no `public`, `user:`, `group:`."""
    kind, _, name = principal.partition(":")
    if principal == PUBLIC or (kind in ("user", "group") and name.strip()):
        return principal
    raise InvalidField("readers", f"{principal!r} is not `public`, `user:<id>` or `group:<id>`")
