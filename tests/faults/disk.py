"""A small disk, to be filled: a tmpfs, where this user may mount one."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

__all__ = ["SmallDisk"]

_BLOCK = 2**16


class SmallDisk:
    """A directory on a file system of its own.

    Args:
        directory: made; what is mounted there is unmounted by ``close``.
        megabytes: its size.

    mounted: whether that was allowed. If not, it is a plain directory that can't be filled.
    """

    def __init__(self, directory: Path, megabytes: int) -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs"]
        try:
            done = subprocess.run([*command, str(directory)], capture_output=True, check=False)
            self.mounted = done.returncode == 0
        except OSError:
            self.mounted = False

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"

    def fill(self) -> None:
        """Leave no room. Blocks for some milliseconds a megabyte."""
        with self._ballast.open("ab", buffering=0) as stream:
            for size in (_BLOCK, 512, 1):
                try:
                    while True:
                        stream.write(b"x" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """There is room again. Idempotent."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, with all that it holds. Idempotent."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.directory)], check=True)
            self.mounted = False
        if self.directory.exists() and not os.listdir(self.directory):
            self.directory.rmdir()
