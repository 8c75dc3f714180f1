"""Nested groups against an oracle, and the provider's settings."""

import random

import pytest

from app.db.models import Membership, PrincipalRow
from app.db.repositories import access as access_rows
from app.db.session import Database
from app.domain.access import Identity, Role, Scope, scopes_of
from app.domain.errors import ConfigurationError
from app.engines.oidc import OidcProvider
from app.services.access import Access
from app.settings import OidcSettings, Settings
from app.wiring import build_access

GROUPS = [f"group:g{number}" for number in range(9)]
ISSUER = "https://sso.example"


def reached(
    start: set[str], edges: set[tuple[str, str]], disabled: set[str], found: set[str] | None = None
) -> set[str]:
    """The groups that one is in, step by step; a disabled one leads nowhere."""
    found = set() if found is None else found
    for group in start - disabled - found:
        found.add(group)
        reached({above for member, above in edges if member == group}, edges, disabled, found)
    return found


@pytest.mark.parametrize("seed", range(40))
async def test_membership_is_what_an_oracle_says(database: Database, seed: int) -> None:
    """Any graph, with circles, disabled groups, roles, and groups that only the token names."""
    dice = random.Random(seed)
    known = set(dice.sample(GROUPS, 7))
    disabled = set(dice.sample(sorted(known), 2))
    everybody = [*sorted(known), "user:ann"]
    pairs = [(member, group) for member in everybody for group in sorted(known)]
    edges = set(dice.sample(pairs, dice.randint(0, 16)))
    roles = {group: dice.sample([*Role], dice.choice((0, 0, 1))) for group in sorted(known)}
    named = set(dice.sample(GROUPS, dice.randint(0, 3)))
    async with database.transaction() as session:
        session.add(PrincipalRow(principal="user:ann", issuer=ISSUER, subject="ann"))
        for group in sorted(known):
            is_disabled = group in disabled
            row = PrincipalRow(principal=group, roles=roles[group], disabled=is_disabled)
            session.add(row)
        await session.flush()
        session.add_all(Membership(member=member, group=group) for member, group in edges)

    own = {group for member, group in edges if member == "user:ann"}
    groups = reached(own | named, edges, disabled)
    expected_roles = {role for group in groups for role in roles.get(group, ())}
    identity = Identity(ISSUER, "ann", None, frozenset(n.removeprefix("group:") for n in named))

    async def identify(_: str) -> Identity:
        return identity

    caller = await Access(database, identify=identify).authenticate("ey.a.b")
    assert caller.user_id == "ann"
    assert caller.principals == {"public", "user:ann", *groups}
    assert caller.scopes == scopes_of(expected_roles)
    async with database.reading() as connection:
        behind = await access_rows.find_named(connection, ["nobody", "ann"])
    assert behind is not None
    assert behind.groups == reached(own, edges, disabled)


def test_roles_and_scopes() -> None:
    assert scopes_of([]) == scopes_of([Role.READER]) == {Scope.ASK}
    assert scopes_of([Role.AUDITOR]) == {Scope.AUDIT}
    assert scopes_of([Role.AUDITOR, Role.EDITOR]) == {Scope.ASK, Scope.INGEST, Scope.AUDIT}
    assert scopes_of([Role.ADMIN]) == {Scope.ADMIN}


@pytest.mark.parametrize(
    "issuer",
    ["http://sso.example", "sso.example", "ftp://127.0.0.1", "https://", "file:///etc", ""],
)
def test_an_issuer_that_anybody_could_speak_for_is_refused(issuer: str) -> None:
    with pytest.raises(ConfigurationError, match="OPORA_OIDC__ISSUER"):
        OidcProvider(issuer, "opora")


@pytest.mark.parametrize("one", [{"issuer": ISSUER}, {"audience": "opora"}])
async def test_issuer_and_audience_go_together(
    settings: Settings, database: Database, one: dict[str, str]
) -> None:
    half = settings.model_copy(update={"oidc": OidcSettings.model_validate(one)})
    with pytest.raises(ConfigurationError, match="set both"):
        build_access(half, database)
