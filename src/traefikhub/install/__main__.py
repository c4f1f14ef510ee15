"""``python -m traefikhub.install``: the same command, without the rest of traefikhub."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from traefikhub._ending import end_with
from traefikhub.install import command


def main() -> NoReturn:
    """Run it, and end as ``traefikhub`` does."""
    end_with(partial(command.main, prog_name="python -m traefikhub.install", standalone_mode=False))


if __name__ == "__main__":
    main()
