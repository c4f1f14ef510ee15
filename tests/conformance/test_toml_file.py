"""The toml-file store, put to the promises."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traefikhub.testing import RouteStoreConformance
from traefikhub_backends.toml_file import TomlFileStore


class TestTomlFile(RouteStoreConformance):
    """A prefix is a file."""

    @classmethod
    @contextmanager
    def run_server(cls) -> Iterator[Path]:
        """The directory of the files."""
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory)

    def make_store(self, prefix: str, server: Path) -> TomlFileStore:
        """All in one directory."""
        return TomlFileStore(path=str(server / f"{prefix}.toml"))
