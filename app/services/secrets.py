"""Secrets at rest: sealed with a key that the database does not hold."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from app.domain.errors import SourceRefused

_FILE = "secrets.key"


class SecretBox:
    """Seals and opens secrets (Fernet: AES-128-CBC with HMAC-SHA-256).

    The key is that of a file in the data directory, which only its owner may read and which is
    made when the first secret is sealed.
    """

    def __init__(self, data: Path) -> None:
        self._file = data / _FILE

    def seal(self, secrets: Mapping[str, str]) -> bytes:
        """Return what can be stored of secrets."""
        return self._box(make=True).encrypt(msgspec.json.encode(dict(secrets)))

    def open(self, sealed: bytes) -> dict[str, str]:
        """Return sealed secrets.

        Raises:
            SourceRefused: They were sealed with another key, or the key is gone.
        """
        try:
            return msgspec.json.decode(self._box().decrypt(sealed), type=dict[str, str])
        except InvalidToken as error:
            raise SourceRefused(
                "its secrets were sealed with another key: bring back the key, or set them anew"
            ) from error

    def _box(self, make: bool = False) -> Fernet:
        try:
            return Fernet(self._kept(make))
        except ValueError as error:
            raise SourceRefused(f"{_FILE!r} in the data directory is damaged") from error

    def _kept(self, make: bool) -> str:
        if make and not self._file.exists():
            self._make()
        try:
            return self._file.read_text().strip()
        except OSError as error:
            raise SourceRefused(
                f"the key of the secrets, {_FILE!r} in the data directory, cannot be read "
                f"({error.strerror}): bring it back, or set the secrets anew"
            ) from error

    def _make(self) -> None:
        """Write a new key as a whole, unless another process is quicker."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f".{_FILE}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(handle)
        try:
            self._file.hardlink_to(fresh)
        except FileExistsError:
            return
        finally:
            fresh.unlink()
