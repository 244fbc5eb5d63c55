"""A folder that several machines reach: on a network drive, or in an object store. It is named by any URL that fsspec knows.

Object stores cannot rename, so a folder of files is not written aside first. Its manifest is uploaded last: without one it is
not complete. What comes back is verified against the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
from fsspec.spec import AbstractFileSystem

from agents.checkpoints.manifests import MANIFEST, Manifest, parse_manifest, replace_folder, verify
from agents.errors import CheckpointError, SharedStorageError
from configs.masking import mask_url

# Without them a request to a store that does not answer takes minutes, while the training waits.
_S3_OPTIONS: Final = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 3}}}

# They have no folders. There, fsspec would create a bucket whose name is mistyped.
_OBJECT_STORES: Final = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"}


class SharedFolder:
    """A folder below a URL. All methods raise :class:`SharedStorageError` if the storage cannot be used.

    Attributes:
        url: of the folder, without its secrets.
    """

    def __init__(self, filesystem: AbstractFileSystem, path: str, url: str) -> None:
        self._filesystem = filesystem
        self._path = path.rstrip("/")
        self.url = url.rstrip("/")

    @classmethod
    def open(cls, url: str) -> SharedFolder:
        """The folder at `url`: ``s3://bucket/folder``, or an absolute path. It need not exist."""
        masked = mask_url(url) if "://" in url else url
        # Each object asks the storage: what it remembered could be older than what another machine has written.
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if url.startswith(("s3://", "s3a://")):
            options |= _S3_OPTIONS
        try:
            filesystem, path = fsspec.url_to_fs(url, **options)
        except ImportError as error:
            raise SharedStorageError(
                f"MARIO_CHECKPOINTS={masked} needs a package that is missing ({error}): for s3:// "
                "pip install 'train-mario[s3]', otherwise the one that fsspec names"
            ) from error
        except Exception as error:  # each backend of fsspec has errors of its own
            raise SharedStorageError(f"MARIO_CHECKPOINTS={masked} cannot be used: {error}") from error
        return cls(filesystem, str(path), masked)

    def __truediv__(self, name: str) -> SharedFolder:
        """The folder `name` in this one."""
        return SharedFolder(self._filesystem, self._join(name), f"{self.url}/{name}")

    def names(self) -> list[str]:
        """The names of what is in the folder, sorted; none if it does not exist."""
        with self._explained("listed"):
            try:
                found = self._filesystem.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
        # Some object stores list a marker of the folder itself.
        return sorted({PurePosixPath(path).name for path in found} - {PurePosixPath(self._path).name})

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        with self._explained(f"read ({name})"):
            try:
                content: bytes = self._filesystem.cat_file(self._join(name))
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        with self._explained(f"written ({name})"):
            self._make()
            self._filesystem.pipe_file(self._join(name), content)

    def remove(self, name: str = "") -> None:
        """Delete a file or a folder in this one, or without a name all of this one; nothing happens if there is none."""
        with self._explained(f"cleared ({name or 'all of it'})"):
            try:
                self._filesystem.rm(self._join(name) if name else self._path, recursive=True)
            except FileNotFoundError:
                return

    def upload(self, local: Path, name: str) -> None:
        """Make the folder `name` equal to the complete folder `local`, whose manifest is uploaded last.

        Only files that differ are uploaded. If this is interrupted, the folder's old manifest does not describe new files.
        """
        content = (local / MANIFEST).read_bytes()
        target = self / name
        present = target.read(MANIFEST)
        if present == content:
            return
        wanted, known = parse_manifest(local / MANIFEST, content), _manifest_or_none(present)
        same = {file for file, entry in wanted.files.items() if known is not None and known.files.get(file) == entry}
        if known is not None and set(wanted.files) - same:
            target.remove(MANIFEST)
        for file in sorted(set(wanted.files) - same):
            target._put(local / file, file)
        target.write(MANIFEST, content)
        for file in set(target.names()) - {*wanted.files, MANIFEST}:
            target.remove(file)

    def download(self, name: str, local: Path) -> Manifest:
        """Make the local folder equal to the folder `name`: completely, with every byte verified, or not at all.

        Raises:
            CheckpointError: a file of the folder is missing or damaged; the message names it.
        """
        source = self / name

        def fill(aside: Path) -> Manifest:
            content = source.read(MANIFEST)
            if content is None:
                raise CheckpointError("it has no manifest: its upload was interrupted")
            for file in parse_manifest(Path(MANIFEST), content).files:
                if Path(file).name != file:
                    raise CheckpointError(f"{file!r} is not the name of a file")
                source._get(file, aside / file)
            (aside / MANIFEST).write_bytes(content)
            return verify(aside)

        try:
            return replace_folder(local, fill)
        except CheckpointError as error:
            raise CheckpointError(f"{source.url}: {error}") from None

    def equals(self, name: str, local: Path) -> bool:
        """Whether the folder `name` has the same manifest as the local folder."""
        try:
            return (self / name).read(MANIFEST) == (local / MANIFEST).read_bytes()
        except FileNotFoundError:
            return False

    def _put(self, local: Path, name: str) -> None:
        with self._explained(f"written ({name})"):
            self._make()
            self._filesystem.put_file(str(local), self._join(name))

    def _get(self, name: str, local: Path) -> None:
        with self._explained(f"read ({name})"):
            try:
                self._filesystem.get_file(self._join(name), str(local))
            except FileNotFoundError:
                raise CheckpointError(f"{name} is missing") from None

    def _make(self) -> None:
        protocols = self._filesystem.protocol
        if _OBJECT_STORES.isdisjoint((protocols,) if isinstance(protocols, str) else protocols):
            self._filesystem.makedirs(self._path, exist_ok=True)

    def _join(self, name: str) -> str:
        return f"{self._path}/{name}"

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (CheckpointError, SharedStorageError):
            raise
        except Exception as error:  # each backend of fsspec has errors of its own
            reason = str(error) or type(error).__name__
            raise SharedStorageError(
                f"{self.url}, where checkpoints are shared (MARIO_CHECKPOINTS), cannot be {what}: {reason}"
            ) from error


def _manifest_or_none(content: bytes | None) -> Manifest | None:
    try:
        return None if content is None else parse_manifest(Path(MANIFEST), content)
    except CheckpointError:
        return None
