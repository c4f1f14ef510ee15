"""The machine on which the Hub runs: user, directories, ports, programs, the Hub itself."""

from __future__ import annotations

import getpass
import os
import pwd
from contextlib import suppress
from typing import Any

from traefikhub.cli._findings import Finding, fault, fine, warning
from traefikhub.session import (
    SessionSettings,
    Standing,
    find_program,
    listeners,
    require_writable,
)
from traefikhub.stores import in_thread
from traefikhub.traefik import TraefikError, find_traefik
from traefikhub.traefik.api import Sign, sign_of_life
from traefikhub.traefik.endpoints import Endpoint
from traefikhub.traefik.rundir import RunDir, openness

__all__ = [
    "look_at_directories",
    "look_at_hub",
    "look_at_ports",
    "look_at_program",
    "look_at_user",
]


def look_at_user(settings: SessionSettings) -> Finding:
    """Whether this user is the one as whom the Hub runs: only then do rights mean anything."""
    name = _name_of(os.geteuid())
    path = RunDir(settings.run_dir).path
    try:
        owner = path.stat().st_uid
    except OSError:
        return fine("user", f"{name}; make sure that it is the Hub's")
    if owner == os.geteuid():
        return fine("user", f"{name}, who owns {path}")
    return warning(
        "user",
        f"{name}, but {path} belongs to {_name_of(owner)}: what this user may do or not says "
        "little of the Hub",
        f"run this check as {_name_of(owner)}",
    )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return getpass.getuser() if uid == os.geteuid() else str(uid)


async def look_at_hub(proxy: Any, settings: SessionSettings, standing: Standing) -> Finding:
    """Whether it runs; either is well."""
    url = str(getattr(proxy.hub, "url", "") or "")
    answers = url.startswith("http") and await _answers(_origin(url), settings)
    where = f"at {url}"
    if not standing.hub:
        if answers:
            return fine("Hub", f"something answers {where}")
        return fine("Hub", f"is not running: nothing answers {where}")
    runs = f"runs with this directory (process {standing.hub})"
    if answers or not url.startswith("http"):
        return fine("Hub", f"{runs}, and answers {where}")
    return warning("Hub", f"{runs}, but doesn't answer {where}", "see the Hub's log")


async def _answers(url: str, settings: SessionSettings) -> bool:
    own = settings.internal_ssl
    try:
        sign = await sign_of_life(Endpoint(url), (own.certificate, own.key) if own else None)
    except OSError:  # which is told elsewhere
        return False
    return sign is Sign.ANSWERS


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


async def look_at_directories(settings: SessionSettings, standing: Standing) -> Finding:
    """Whether the Hub can write its files."""
    check, mend = "directories", "make it writable for the Hub's user, or change the option"
    if standing.problem:
        return fault(check, standing.problem, f"{mend} c.TraefikProxy.run_dir")
    try:
        await in_thread(require_writable, settings)
    except TraefikError as error:
        return fault(check, error, mend)
    path = RunDir(settings.run_dir).path
    # What the next start mends by itself is no matter.
    problem = await in_thread(openness, path) if path.is_dir() else None
    if problem and not problem.closable:
        return warning(check, problem.found, problem.mend)
    return fine(check, f"{path} can be written")


async def look_at_ports(settings: SessionSettings, standing: Standing) -> list[Finding]:
    """Whether Traefik can listen. Where it listens already, it may."""
    try:
        both = await in_thread(listeners, settings)
    except TraefikError as error:
        return [fault("ports", error, "choose another port for one of them")]
    program = ""
    with suppress(TraefikError):  # ``look_at_program`` tells
        program = await in_thread(find_traefik, settings.traefik_command)
    found = []
    for listener in both:
        udp = listener.protocol == "udp"
        check = f"port {listener.port}{'/udp' if udp else ''}"
        try:
            await in_thread(listener.require_free, standing.ports, program)
        except TraefikError as error:
            mend = (
                f"stop what listens there, or set {listener.setting} "
                f"{'= False' if udp else 'to another port'}"
                if "is taken" in str(error)
                else f"set {listener.setting} to where this machine, and this user, may listen"
            )
            found.append(fault(check, error, mend))
        else:
            held = listener.port in standing.ports
            state = "has this Hub's own Traefik" if held else "is free"
            found.append(fine(check, f"{listener.address} {state}"))
    return found


async def look_at_program(settings: SessionSettings) -> Finding:
    """Whether there is a Traefik to start."""
    try:
        program = await in_thread(find_program, settings)
    except TraefikError as error:
        return fault(
            "Traefik",
            error,
            'pip install "traefikhub[traefik]", or set c.TraefikProxy.traefik_command',
        )
    return fine("Traefik", f"{program.version}, {program.path}")
