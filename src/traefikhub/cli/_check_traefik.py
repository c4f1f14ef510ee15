"""Traefik: the one that runs, that of others, and the one that is going to be started."""

from __future__ import annotations

from typing import Final

from traefikhub.cli._findings import Finding, Status, fault, fine, skipped, warning
from traefikhub.session import (
    SessionSettings,
    Standing,
    ask_version,
    own_credentials,
    try_start,
    wait_served,
)
from traefikhub.stores import Snapshot, StoreError
from traefikhub.traefik import (
    ApiRejected,
    Credentials,
    Endpoint,
    NotLive,
    TraefikError,
    Version,
    require_supported,
)
from traefikhub.traefik.api import Sign, sign_of_life
from traefikhub.traefik.endpoints import find_endpoints

__all__ = ["look_at_external", "look_at_own", "look_at_trial"]

_VERSION_SECONDS: Final = 5.0
"""A password counts as wrong only after it was refused for some seconds: another one may be on its
way to Traefik."""

_ROUTES_SECONDS: Final = 3.0
_URL = "c.TraefikProxy.traefik_api_url"
_PASSWORD = "c.TraefikProxy.traefik_api_password"  # nosec B105 # the name of an option


async def look_at_own(
    settings: SessionSettings, standing: Standing, snapshot: Snapshot | None
) -> list[Finding]:
    """The API of the Traefik that this Hub started, if it runs."""
    if not standing.traefik:
        return [skipped("API", "Traefik isn't running; it starts with the Hub")]
    if not (credentials := own_credentials(settings)):
        return [
            skipped(
                "API",
                f"the password in {settings.run_dir}/api-password can't be read; run this check "
                "as the Hub's user",
            )
        ]
    fix = (
        f"see the end of {settings.run_dir}/traefik.log; if it stays so, restart the Hub"
        if standing.hub
        else f"start the Hub; or end what is left: kill {standing.traefik[0].pid}"
    )
    endpoint = Endpoint(settings.api_url)
    if await sign_of_life(endpoint) is not Sign.ANSWERS:
        return [fault("API", f"nothing answers at {settings.api_url} ({_URL})", fix)]
    try:
        version = await ask_version(settings, endpoint, credentials, timeout=_VERSION_SECONDS)
    except TraefikError as error:
        return [fault("API", error, fix)]
    found = fine("API", f"Traefik {version} answers at {settings.api_url}")
    serves = await _serves(settings, endpoint, credentials, snapshot, fix)
    if serves.status is Status.FAULT and not standing.hub:
        # It may have served another store.
        serves = warning(serves.check, serves.found, "none is needed: the Hub's start mends it")
    return [found, serves]


async def look_at_external(settings: SessionSettings, snapshot: Snapshot | None) -> list[Finding]:
    """The APIs of the Traefiks that others run, as the Hub will ask them."""
    endpoints, problems = await find_endpoints(settings.api_urls)
    findings = [
        fault("API", problem, f"set {_URL} to names that this machine can resolve")
        for problem in problems
    ]
    for endpoint in endpoints:
        findings += await _look_at_one(settings, endpoint, snapshot)
    return findings


async def _look_at_one(
    settings: SessionSettings, endpoint: Endpoint, snapshot: Snapshot | None
) -> list[Finding]:
    url = endpoint.shown
    if await sign_of_life(endpoint) is not Sign.ANSWERS:
        return [
            fault(
                "API",
                f"nothing answers at {url} ({_URL})",
                f"start that Traefik, with an entry point {settings.api_entry_point} at that "
                f"address; or set {_URL}",
            )
        ]
    credentials = []
    if settings.api_password:
        credentials.append(Credentials(settings.api_username, settings.api_password))
    brings_router = settings.setup_dynamic_config
    try:
        version = await ask_version(settings, endpoint, credentials, timeout=_VERSION_SECONDS)
    except ApiRejected as error:
        if not credentials and brings_router:
            return [
                fine("API", f"answers at {url}, and asks for a password"),
                skipped(
                    "API, version and store",
                    f"only the Hub that runs knows the password; with {_PASSWORD} this check does",
                ),
            ]
        return [
            fault(
                "API",
                error,
                f"set c.TraefikProxy.traefik_api_username and {_PASSWORD} to what the API's router "
                "asks for"
                + ("; or start the Hub, if they were changed since" if brings_router else ""),
            )
        ]
    except NotLive as error:
        return [_no_router(settings, error)]
    except TraefikError as error:
        return [fault("API", error, "use a release of Traefik")]
    return [_supported(url, version), await _serves(settings, endpoint, credentials, snapshot, "")]


def _no_router(settings: SessionSettings, error: NotLive) -> Finding:
    """What to say of a server that tells no version."""
    if settings.setup_dynamic_config:
        return warning(
            "API",
            f"there is a server, but no router for Traefik's API yet: {error}",
            "the Hub brings it through the store: start it. If it runs, that Traefik doesn't read "
            "the store: traefikhub static-config shows what it needs",
        )
    return fault(
        "API",
        f"there is a server, but no router for Traefik's API: {error}",
        "give that Traefik a router for api@internal, and [api] in its static configuration; or "
        "set c.TraefikProxy.enable_setup_dynamic_config = True",
    )


def _supported(url: str, version: Version) -> Finding:
    try:
        require_supported(version, url)
    except TraefikError as error:
        return fault("API", error, "upgrade that Traefik")
    return fine("API", f"Traefik {version} answers at {url}")


async def _serves(
    settings: SessionSettings,
    endpoint: Endpoint,
    credentials: list[Credentials],
    snapshot: Snapshot | None,
    fix: str,
) -> Finding:
    check = "routes in Traefik"
    if snapshot is None:
        return skipped(check, "the store can't be read")
    if not snapshot.generation:
        return skipped(check, "no Hub has written to the store yet")
    try:
        await wait_served(
            settings, endpoint, credentials, snapshot.generation, timeout=_ROUTES_SECONDS
        )
    except TraefikError as error:
        return fault(
            check,
            error,
            fix
            or f"give it providers.{settings.store.provider_name} as traefikhub static-config "
            "shows, and look into its log",
        )
    return fine(
        check, f"{endpoint.shown} serves what the store holds (generation {snapshot.generation})"
    )


async def look_at_trial(settings: SessionSettings, *, readable: bool) -> list[Finding]:
    """Whether Traefik starts with this configuration.

    Args:
        readable: whether the Hub can read the store.
    """
    check = "static configuration"
    try:
        trial = await try_start(settings)
    except (TraefikError, StoreError, ValueError) as error:
        return [
            fault(
                check,
                error,
                "change what it complains of, in c.TraefikProxy.extra_static_config or "
                "c.TraefikProxy.extra_dynamic_config",
            )
        ]
    findings = [fine(check, f"Traefik took it, and served after {trial.seconds:.1f} s")]
    findings += [
        warning(
            "configuration in Traefik",
            complaint,
            "Traefik leaves it out; mend it in c.TraefikProxy.extra_dynamic_config",
        )
        for complaint in trial.complaints
    ]
    if trial.of_store and readable:
        findings.append(
            fault(
                "store, by Traefik",
                trial.of_store,
                f"Traefik reads it as the options of c.{type(settings.store).__name__} say; the "
                "page Least privilege of the documentation has the rights that it needs",
            )
        )
    return findings
