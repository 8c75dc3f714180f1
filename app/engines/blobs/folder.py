"""Blobs as files of a folder."""

import os
import secrets
import shutil
from pathlib import Path

from app.domain.errors import StorageUnavailable


class FolderBlobStore:
    """Keeps a blob under `root/ab/abcdef...`; the key is its SHA-256 in hex."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, source: Path) -> None:
        """Move a finished local file into the store, durably; a present key is kept.

        Raises:
            StorageUnavailable: The folder cannot be written, or its disk is full.
        """
        try:
            self._put(key, source)
        except OSError as error:
            raise StorageUnavailable(f"the store of files: {error.strerror or error}") from error

    def _put(self, key: str, source: Path) -> None:
        target = self.local_path(key)
        if target.exists():
            source.unlink(missing_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        shutil.move(source, staged)
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.replace(target)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def local_path(self, key: str) -> Path:
        """Where the bytes lie."""
        return self._root / key[:2] / key

    def delete(self, key: str) -> None:
        """Forget the bytes; an unknown key is ignored."""
        self.local_path(key).unlink(missing_ok=True)
