"""The Hubs' configurations of docs/deploy, made ready to be read on this machine."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator, DummyAuthenticator
from traitlets.config import Config, Configurable

from deployments import DEPLOY
from traefikhub.cli._hub import Hub
from traefikhub.proxy import TraefikProxy
from traefikhub.session import EXTERNAL_OPTION_CHECKS, OPTION_CHECKS
from traefikhub_backends.etcd import EtcdStore
from traefikhub_backends.toml_file import TomlFileStore

__all__ = ["CONFIGS", "PASSWORDS", "config_of", "option_faults", "static_env"]

CONFIGS: Final = ("compose", "kubernetes", "one-server", "three-machines", "tljh")

PASSWORDS: Final = {"root": "root's-$word", "hub": "the-hub's-$word", "traefik": "traefik's-word"}
"""Of etcd's users."""

_PLAIN: Final = "is asked over plain http, on the network"
"""The API is, on networks that are the deployment's own; docs/deploying.md says what that means."""

# What TLJH has set before it reads files of the admin (tljh/jupyterhub_config.py and
# tljh/configurer.py of jupyterhub/the-littlest-jupyterhub, 2.0).
_TLJH: Final = """
c.TraefikProxy.should_start = False
c.TraefikFileProviderProxy.dynamic_config_file = "/opt/tljh/state/rules/rules.toml"
c.JupyterHub.proxy_class = "traefik_file"
c.JupyterHub.base_url = "/"
c.TraefikProxy.traefik_api_username = "api_admin"
c.TraefikProxy.traefik_api_password = "tljh's word"
c.TraefikProxy.traefik_entrypoint = "http"
"""


def config_of(name: str, directory: Path) -> Path:
    """A file that says what the Hub of this deployment reads, with passwords of our own."""
    secrets = directory / "secrets"
    secrets.mkdir(exist_ok=True)
    for file, word in (
        ("etcd_hub_password", PASSWORDS["hub"]),
        ("etcd_traefik_password", PASSWORDS["traefik"]),
        ("etcd-hub", PASSWORDS["hub"]),
        ("etcd-traefik", PASSWORDS["traefik"]),
        ("crypt_key", "0" * 64),
        ("login_password", "a word"),
    ):
        (secrets / file).write_text(f"{word}\n")
    if name == "kubernetes":
        text = _of_values(yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text()))
    elif name == "tljh":
        text = _TLJH + (DEPLOY / "tljh" / "traefikhub_config.py").read_text()
        text = text.replace('"/opt/tljh"', repr(str(directory / "tljh")))
    else:
        text = (DEPLOY / name / "jupyterhub_config.py").read_text()
    for there in ("/run/secrets", "/etc/jupyterhub/credentials"):
        text = text.replace(f'"{there}"', repr(str(secrets)))
    config = directory / "jupyterhub_config.py"
    config.write_text(text)
    return config


def _of_values(values: dict[str, Any]) -> str:
    """As the chart's own jupyterhub_config.py takes hub.config, and then hub.extraConfig."""
    hub = values["hub"]
    environment = {"ETCD_HUB_PASSWORD": "hub", "ETCD_TRAEFIK_PASSWORD": "traefik"}
    lines = ["import os"]
    lines += [f"os.environ[{key!r}] = {PASSWORDS[user]!r}" for key, user in environment.items()]
    lines += [f"c[{section!r}].update({options!r})" for section, options in hub["config"].items()]
    return "\n".join([*lines, *hub["extraConfig"].values()])


def option_faults(file: Path) -> list[str]:
    """What JupyterHub and the proxy have against a configuration, and options that don't exist."""
    told = _Told()
    try:
        proxy = Hub(str(file), ()).proxy(told.log)
        faults = _misspelt(proxy.config)
        settings = proxy.session_settings()
        proxy.warn_of_options()
        for check in OPTION_CHECKS if settings.starts_traefik else EXTERNAL_OPTION_CHECKS:
            check(settings)
    except Exception as error:
        return [f"{type(error).__name__}: {error}", *told.texts]
    return faults + [each for each in told.texts if _PLAIN not in each]


def _misspelt(config: Config) -> list[str]:
    """Sections and options of no class that is in use."""
    import dockerspawner

    classes: dict[str, type[Configurable]] = {
        each.__name__: each
        for each in (
            *(JupyterHub, Authenticator, DummyAuthenticator, dockerspawner.DockerSpawner),
            *(TraefikProxy, EtcdStore, TomlFileStore),
        )
    }
    faults = []
    for section, options in config.items():
        if section not in classes:
            faults.append(
                f"c.{section}: there is no such class; {get_close_matches(section, classes)}?"
            )
            continue
        known = classes[section].class_traits(config=True)
        faults += [f"c.{section}.{option} is none" for option in options if option not in known]
    return faults


class _Told(logging.Handler):
    """What is warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.log = logging.Logger("deployments")
        self.log.addHandler(self)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.texts.append(record.getMessage())


def static_env(file: Path, *arguments: str) -> dict[str, str]:
    """What ``traefikhub static-config`` prints as variables, for the Traefik of the manifests."""
    found = re.findall(r"traefik:v([\d.]+)", (DEPLOY / "kubernetes" / "traefik.yaml").read_text())
    (version,) = set(found)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "traefikhub.cli", "static-config", "--format", "env"),
            *("--traefik-version", version, "-f", str(file), *arguments),
        ],
        capture_output=True,
        text=True,
        cwd=file.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def write_again(directory: Path) -> None:
    """Put what the command prints now into the manifests, after a change of the configurations.

    ``PYTHONPATH=src:tests python -m deploy_configs``
    """
    printed = {
        name: {
            key: value
            for key, value in static_env(config_of(name, directory)).items()
            if value != "***"
        }
        for name in ("compose", "kubernetes")
    }
    (DEPLOY / "compose" / "traefik.env").write_text(
        "".join(f"{key}={value}\n" for key, value in printed["compose"].items())
    )
    manifest = DEPLOY / "kubernetes" / "traefik.yaml"
    before, _, rest = manifest.read_text().partition("\ndata:\n")
    lines = "".join(f'  {key}: "{value}"\n' for key, value in printed["kubernetes"].items())
    manifest.write_text(f"{before}\ndata:\n{lines}{rest[rest.index('---') :]}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_again(Path(scratch))
