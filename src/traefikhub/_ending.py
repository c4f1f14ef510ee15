"""How a command ends: with an exit code, and without a traceback of what the machine does to it."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import click

__all__ = ["end_with"]

_NOT_WRITTEN: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What an open file answers. Of those that a command opens itself, it says which."""


def end_with(
    run: Callable[[], object],
    *,
    translate: Callable[[BaseException], BaseException] = lambda error: error,
) -> NoReturn:
    """Run a command of click's, not in its standalone mode, and leave with its exit code.

    Standard output takes any text: what its encoding lacks is written as an escape.

    Args:
        translate: an error into that which is told.
    """
    if sys.stdout is None:  # closed by who calls
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the end
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = run()
    except BaseException as error:
        code = _told(translate(error))
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException) -> int:
    """Tell why a command failed; its exit code. What nobody expected is raised again."""
    match error:
        case click.ClickException():
            error.show()
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return 130
        case BrokenPipeError():
            # Nobody reads any more, as after "| head".
            sys.stdout = None  # so that nothing is flushed into it
            return 0
        case OSError():
            if error.errno in _NOT_WRITTEN and not error.filename:
                click.echo(f"Error: standard output can't be written: {error.strerror}", err=True)
                sys.stdout = None
            else:
                click.echo(f"Error: {error}", err=True)
            return 1
    raise error
