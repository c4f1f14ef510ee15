"""The hub that a command is about: its configuration, read as JupyterHub reads it."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_tb
from typing import Any, Final, TypeVar

import click
from jupyterhub.app import JupyterHub
from traitlets import TraitError
from traitlets.config import ConfigurableError

from traefikhub.proxy import TraefikProxy
from traefikhub.session import SessionSettings
from traefikhub.stores import StoreError

__all__ = ["Hub", "hub_options"]

_USUAL: Final = "jupyterhub_config.py"

_WRONG_VALUE: Final = re.compile(
    r"The '(?P<name>\w+)' trait of (an? |<[\w.]+\.)(?P<owner>\w+)( object at \w+>)? instance"
)
"""How traitlets begins, by the class or by the object."""

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Hub:
    """Where the configuration of a hub is.

    file: as given by ``-f``; empty for the usual one, if it is there.
    traits: options as JupyterHub's command line takes them.
    """

    file: str
    traits: tuple[str, ...]

    def proxy(self, log: logging.Logger | None = None) -> TraefikProxy:
        """The proxy as the Hub would make it. Runs the configuration; starts and writes nothing.

        Args:
            log: where it is told what traitlets finds odd; JupyterHub's if None.

        Raises:
            ClickException: the configuration can't be read, or has another proxy.
        """
        with _output_to_stderr(), self.explained():
            app = self._app(log)
            found = app.proxy_class
            if not issubclass(found, TraefikProxy):
                raise click.ClickException(
                    f"{self.about}: c.JupyterHub.proxy_class is {found.__name__}; set it to "
                    "'traefikhub', or give the configuration of another hub with -f"
                )
            proxy: TraefikProxy = found(
                public_url=app.bind_url,
                parent=app,
                app=app,
                log=app.log,
                hub=app.hub,
                host_routing=bool(app.subdomain_host),
                ssl_cert=app.ssl_cert,
                ssl_key=app.ssl_key,
            )
            return proxy

    def settings(self) -> SessionSettings:
        """What the proxy would begin with.

        Raises:
            ClickException: as ``proxy``.
            StoreNotFound: its store is not installed, or broken.
        """
        proxy = self.proxy()
        with self.explained():
            return proxy.session_settings()

    @property
    def about(self) -> str:
        """Whose words an error is about. Values may be secrets."""
        file = self.file or (_USUAL if Path(_USUAL).exists() else f"without {_USUAL}")
        return " ".join((file, *(trait.partition("=")[0] for trait in self.traits)))

    def _app(self, log: logging.Logger | None) -> Any:
        if self.file and not Path(self.file).is_file():
            raise click.UsageError(f"-f {self.file}: there is no such file")
        app = JupyterHub(log_level=logging.WARNING, **({"log": log} if log else {}))
        app.raise_config_file_errors = True
        file = [f"--config={self.file}"] if self.file else []
        # Without what is around them, which logs a wrong value, a secret perhaps, and exits.
        inspect.unwrap(JupyterHub.parse_command_line)(app, [*file, *self.traits])
        inspect.unwrap(JupyterHub.load_config_file)(app, app.config_file)
        app.init_hub()
        return app

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the admin's own code, and options of wrong types, raise."""
        try:
            yield
        except (click.ClickException, StoreError):
            raise
        except (Exception, SystemExit) as error:
            raise click.ClickException(f"{self.about}{_what(error)}{_line(error)}") from error


def _what(error: BaseException) -> str:
    match error:
        case SystemExit():
            return f": exits with {error.code}"
        case TraitError() | ConfigurableError():
            return f": {_by_setting(str(error))}"
    return f" can't be read: {type(error).__name__}: {error}"


def _by_setting(text: str) -> str:
    """What traitlets says of a wrong value, which may be a secret."""
    found = _WRONG_VALUE.match(text)
    if not found:
        return text
    setting = f"c.{found['owner']}.{found['name']}"
    if re.search("password|token|secret|key", found["name"]):
        return f"the value of {setting} is of a wrong type"
    return setting + text[found.end() :]


def _line(error: BaseException) -> str:
    """The line of a configuration file, that of load_subconfig as well, where it was raised."""
    for frame, number in reversed(list(walk_tb(error.__traceback__))):
        if "load_subconfig" in frame.f_globals:  # as in no other code
            return f" ({Path(frame.f_code.co_filename).name}, line {number})"
    return ""


@contextmanager
def _output_to_stderr() -> Iterator[None]:
    """Whatever a configuration prints, or a program that it runs: standard output is ours."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def hub_options(function: _F) -> _F:
    """For a ``HubCommand``: ``-f``, and its ``Hub`` as the argument ``hub``."""

    @click.option(
        "-f",
        "--config",
        default="",
        metavar="FILE",
        help=f"The hub's configuration; {_USUAL} by default.",
        type=click.Path(),
    )
    @click.pass_context
    def with_hub(ctx: click.Context, /, config: str, **kwargs: Any) -> Any:
        return ctx.invoke(function, hub=Hub(config, tuple(ctx.obj or ())), **kwargs)

    with_hub.__name__ = function.__name__
    with_hub.__doc__ = function.__doc__
    # Options that were put on the function itself.
    with_hub.__click_params__ = [  # type: ignore[attr-defined]
        *getattr(function, "__click_params__", []),
        *with_hub.__click_params__,  # type: ignore[attr-defined]
    ]
    return with_hub  # type: ignore[return-value]
