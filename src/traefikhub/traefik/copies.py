"""Private copies of certificates and keys, under names that change with their content.

Traefik reads a file again when its configuration changes, not when the file does; and one under a
name that it has read already not even then, where a key-value store tells it of it. With copies,
no store holds a key. Everything here blocks, for a millisecond.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from traefikhub.traefik._errors import TraefikUnusable
from traefikhub.traefik.rundir import write_private

__all__ = ["keep_copies", "remove_copies"]

_DIGITS: Final = 16


def keep_copies(run_dir: Path, kind: str, texts: Mapping[str, str]) -> Path:
    """Write files with these texts, by name, into a directory that no others share.

    Args:
        kind: what they are, a word; copies of one kind are removed together.

    Returns:
        The directory.

    Raises:
        TraefikUnusable: they can't be written.
    """
    mark = hashlib.sha256("\0".join(texts.values()).encode()).hexdigest()[:_DIGITS]
    directory = run_dir / kind / mark
    try:
        for each in (directory.parent, directory):
            each.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise TraefikUnusable(
            f"{directory} can't be made: {error.strerror} (c.TraefikProxy.run_dir)"
        ) from error
    for name, text in texts.items():
        write_private(directory / name, text)
    return directory


def remove_copies(run_dir: Path, kind: str, *but: Path | None) -> None:
    """Remove the copies of a kind that no Traefik is told of any more.

    Args:
        but: directories that ``keep_copies`` returned.
    """
    directory = run_dir / kind
    if not any(but):
        shutil.rmtree(directory, ignore_errors=True)
        return
    for each in directory.iterdir():
        if each not in but:
            shutil.rmtree(each, ignore_errors=True)
