"""``python -m traefikhub.install``: the same command, without the rest of traefikhub."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from traefikhub.install import command


def main() -> NoReturn:
    """Run it, and end as ``traefikhub`` does."""
    try:
        code = command.main(prog_name="python -m traefikhub.install", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
