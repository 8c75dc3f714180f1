"""What an admin says of a source: which files, for whom, and how to get at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any
from urllib.parse import urlsplit

from pathspec import GitIgnoreSpec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.domain.access import check_principal
from app.domain.errors import InvalidField
from app.domain.sources import SourceKind

Pattern = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

_FOR_ALL = {"include", "exclude", "rules"}
_NETWORK = _FOR_ALL | {"allow_networks"}
_LOGIN = _NETWORK | {"username", "password"}
# What may be said of a store, by the scheme of its URL.
STORES: dict[str, set[str]] = {
    "file": _FOR_ALL,
    "git": _FOR_ALL,
    "s3": _NETWORK | {"key", "secret", "token", "endpoint_url", "region", "anonymous"},
    "sftp": _LOGIN | {"private_key", "host_key"},
    "smb": _LOGIN,
    "webdav": _LOGIN,
    "webdavs": _LOGIN,
}
_PAGES = _LOGIN | {"token", "allow_hosts"}


class Rule(BaseModel):
    """Who may read the files that match, and in which collection they go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    glob: Pattern = Field(description="As a line of .gitignore; `hr/` is all below that folder.")
    readers: Annotated[list[str], Field(min_length=1)] | None = None
    collection: str | None = None


class SourceOptions(BaseModel):
    """The options of a source; secrets are written, never read back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include: list[Pattern] = Field([], description="Only files that match one of these.")
    exclude: list[Pattern] = Field([], description="No files that match one of these.")
    rules: list[Rule] = Field([], description="The first rule that matches a file counts.")
    allow_hosts: list[Text] = Field(
        [], description="Hosts, as `host` or `host:port`, that pages may stand on beside the URL's."
    )
    allow_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="Private or local networks that the hosts' addresses may lie in."
    )
    username: Text | None = None
    password: SecretStr | None = None
    key: SecretStr | None = Field(None, description="Access key id, for S3.")
    secret: SecretStr | None = Field(None, description="Secret access key, for S3.")
    token: SecretStr | None = Field(None, description="Session token for S3; bearer for pages.")
    private_key: SecretStr | None = Field(None, description="OpenSSH private key, for SFTP.")
    host_key: Text | None = Field(
        None, description="Public key of the SFTP server, as `ssh-ed25519 AAAA...`."
    )
    endpoint_url: Text | None = Field(None, description="An S3 server other than Amazon's.")
    region: Text | None = Field(None, description="Region of the S3 bucket.")
    anonymous: bool = Field(False, description="Read the S3 bucket without credentials.")

    def public(self) -> dict[str, Any]:
        """What may be shown: all that was given, without the secrets."""
        return self.model_dump(mode="json", exclude=set(secret_names()), exclude_defaults=True)

    def secrets(self) -> dict[str, str]:
        """The secrets that were given."""
        return {
            name: value.get_secret_value()
            for name in secret_names()
            if (value := getattr(self, name)) is not None
        }


def secret_names() -> list[str]:
    """The options that are secrets."""
    fields = SourceOptions.model_fields
    return [name for name, info in fields.items() if info.annotation == SecretStr | None]


def check_source(kind: SourceKind, url: str, options: SourceOptions) -> None:
    """Refuse a source that could not work or that says what its kind does not know.

    Raises:
        InvalidField: With the field's name; never with a secret.
    """
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise InvalidField("url", "holds a login; put it into options.username and .password")
    match kind:
        case SourceKind.FOLDER:
            known = _FOR_ALL
            if not (url.startswith("/") or parts.scheme == "file"):
                raise InvalidField("url", f"{url!r} is no absolute path of a folder")
        case SourceKind.FSSPEC:
            if parts.scheme not in STORES:
                schemes = ", ".join(f"{scheme}://" for scheme in STORES)
                raise InvalidField("url", f"{url!r} is none of {schemes}")
            known = STORES[parts.scheme]
            if parts.scheme not in ("file", "git") and not parts.hostname:
                raise InvalidField("url", f"{url!r} names no host")
        case SourceKind.SITEMAP:
            known = _PAGES
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidField("url", f"{url!r} is no http or https address of a sitemap")
    foreign = sorted(options.model_fields_set - known)
    if foreign:
        raise InvalidField(f"options.{foreign[0]}", f"a source of kind {kind!r} has no such option")
    if options.username is not None and ":" in options.username:
        raise InvalidField("options.username", "may hold no colon")
    if parts.scheme == "sftp" and options.host_key is None:
        raise InvalidField(
            "options.host_key", "missing: the server's public key, as `ssh-keyscan` prints it"
        )
    if parts.scheme == "s3" and not (options.anonymous or (options.key and options.secret)):
        raise InvalidField("options", "an s3 store needs `key` and `secret`, or `anonymous`: true")
    for rule in options.rules:
        for reader in rule.readers or ():
            check_principal(reader)
    Selection(options)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a file of a source goes and who may read it."""

    collection: str
    readers: tuple[str, ...]


class Selection:
    """Which files of a source are read."""

    def __init__(self, options: SourceOptions) -> None:
        self._include = _spec("options.include", options.include)
        self._exclude = _spec("options.exclude", options.exclude)
        self._rules = [(_spec("options.rules", [rule.glob]), rule) for rule in options.rules]

    def takes(self, key: str) -> bool:
        """Whether a file is read."""
        path = _path(key)
        wanted = not len(self._include) or self._include.match_file(path)
        return wanted and not self._exclude.match_file(path)

    def rule_of(self, key: str) -> Rule | None:
        """The first rule that matches."""
        path = _path(key)
        return next((rule for spec, rule in self._rules if spec.match_file(path)), None)

    def place(self, key: str, collection: str, readers: Sequence[str]) -> Placement:
        """Where a file goes, given what holds where no rule says otherwise."""
        rule = self.rule_of(key) or Rule(glob="*")
        wanted = readers if rule.readers is None else rule.readers
        return Placement(rule.collection or collection, tuple(sorted(set(wanted))))


def _path(key: str) -> str:
    """What patterns are matched against: a file's path, and of a page the path in its address."""
    path = urlsplit(key).path if key.startswith(("http://", "https://")) else key
    return path.lstrip("/")


def _spec(field: str, patterns: Sequence[str]) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InvalidField(field, str(error)) from error


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidField("url", f"cannot be read: {error}") from error
    return parts
