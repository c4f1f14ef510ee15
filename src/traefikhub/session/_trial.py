"""Start Traefik for a moment with the very configuration, beside whatever runs: to see that it
takes it, and what it says."""

from __future__ import annotations

import re
import socket
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import anyio

from traefikhub.session._elsewhere import PROVIDER, elsewhere
from traefikhub.session._local import start_traefik
from traefikhub.session._parts import POLLING_USER
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import resolve_store
from traefikhub.threads import in_thread
from traefikhub.traefik import TraefikError

__all__ = ["Trial", "try_start"]

_STORE: Final = "toml-file"

_ASK_SECONDS: Final = 3.0
_KINDS: Final = (
    *("http/routers", "http/services", "http/middlewares"),
    *("tcp/routers", "tcp/services", "tcp/middlewares", "udp/routers", "udp/services"),
)
_MOST: Final = 5
_ERROR: Final = re.compile(r" (?:ERR|FTL|PNC) |\"level\":\"(?:error|fatal|panic)\"")
_ABOUT_PROVIDER: Final = re.compile(r'error="([^"]*)".* providerName=(\w+)')
_LOOK_SECONDS: Final = 1.0
_NOTHING_YET: Final = "failed to watch KV: key not found"
"""What Traefik says of a store in which no Hub has written."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How it went.

    seconds: until Traefik served.
    complaints: what Traefik finds wrong with what it serves all the same.
    of_store: why it can't read the store; empty if it can, as far as was seen in a second.
    """

    seconds: float
    complaints: list[str]
    of_store: str


async def try_start(settings: SessionSettings) -> Trial:
    """Start Traefik as the Hub would, and end it again.

    Different are: every port is a free one of this machine's own; the routes, of which there are
    none, are in a scratch file; logs and what else Traefik writes are in a temporary directory;
    certificates are asked of nobody. The store's provider is there, too, and reads the store.

    Raises:
        TraefikError, StoreError, ValueError: it would not come up; what a start would say.
    """
    with tempfile.TemporaryDirectory(prefix="traefikhub-check-") as name:
        directory = Path(name)
        store = resolve_store(_STORE)(log=settings.log, run_dir=name)
        users, api, http = _free_ports(3)
        trial = elsewhere(settings, directory, store, users=users, api=api, http=http)
        async with AsyncExitStack() as stack:
            began = time.monotonic()
            try:
                await start_traefik(trial, stack)
            except TraefikError as error:
                raise type(error)(_said(str(error), directory)) from error
            seconds = time.monotonic() - began
            password = (directory / "api-password").read_text().strip()
            found = await in_thread(_complaints, trial.api_url, password)
            of_store = await _of_store(settings.store.provider_name, directory)
        own = f"@{settings.store.provider_name}"
        said = dict.fromkeys(text.replace(f"@{PROVIDER}", own) for text in found)
        return Trial(seconds, [*said], of_store)


async def _of_store(provider: str, directory: Path) -> str:
    """What Traefik says of the store's provider soon after its start."""
    if provider == PROVIDER:  # that one reads the trial's store
        return ""
    await anyio.sleep(_LOOK_SECONDS)
    found = (_ABOUT_PROVIDER.search(line) for line in _errors(directory))
    return next((line[1] for line in found if line and line[2] == provider), "")


def _said(text: str, directory: Path) -> str:
    """What a failed start says, with what Traefik says of errors; its log is about to be removed,
    and warns of entry points that are the trial's."""
    text = text.partition(" Traefik's last log lines")[0]
    text = "\n".join([text, *_errors(directory)[:_MOST]])
    return text.replace(f"{directory}/", "")


def _errors(directory: Path) -> list[str]:
    try:
        lines = (directory / "traefik.log").read_text(errors="replace").splitlines()
    except FileNotFoundError:  # it was not even started
        return []
    return [line for line in lines if _ERROR.search(line) and _NOTHING_YET not in line]


def _free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now, none twice."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _complaints(url: str, password: str) -> list[str]:
    """What Traefik's API says of what it leaves out. Blocks."""
    import requests  # a Hub that starts has no need of it

    found: dict[tuple[str, str], str] = {}
    with suppress(requests.RequestException, ValueError), requests.Session() as session:
        session.trust_env = False
        session.auth = (POLLING_USER, password)
        for kind, status in product(_KINDS, ("disabled", "warning")):
            answer = session.get(
                f"{url}/api/{kind}",
                params={"status": status, "per_page": str(_MOST)},
                timeout=_ASK_SECONDS,
            )
            for each in answer.json() if answer.status_code == 200 else []:
                why = "; ".join(map(str, each.get("error") or ["not used"]))
                name = str(each.get("name"))
                # Traefik makes a second router of one if the entry point has middlewares.
                if len(name) <= len(found.get((kind, why), name)):
                    found[kind, why] = name
    return [f"{kind.split('/')[1][:-1]} {name}: {why}" for (kind, why), name in found.items()]
