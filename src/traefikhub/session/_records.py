"""The records that stand beside the routes, as the options and the store have them."""

from __future__ import annotations

import os

from traefikhub.base import (
    CERTIFICATE_KEY,
    api_records,
    api_users,
    certificate_record,
    generation_records,
    https_records,
    metrics_records,
    ready_records,
)
from traefikhub.error_pages import HubPages, error_page_records
from traefikhub.internal_ssl import TRANSPORT_KEY, TransportTls, transport_records
from traefikhub.session._settings import SessionSettings
from traefikhub.stores import Key, Records, Snapshot
from traefikhub.table import merge
from traefikhub.threads import in_thread
from traefikhub.traefik import SERVERS_TRANSPORT, Credentials
from traefikhub.traefik.certificate import make_default_certificate, still_good
from traefikhub.traefik.passwords import admin_user, polling_user
from traefikhub.traefik.users_entry_point import GenerationQuestion, question_for

__all__ = ["base_keys", "base_records", "own_transport"]


async def base_records(
    settings: SessionSettings,
    snapshot: Snapshot,
    polling: Credentials,
    pages: HubPages | None,
    tls: TransportTls | None,
    certificate: Records | None = None,
    *,
    counts: bool = False,
    ready: bool = False,
    question: GenerationQuestion | None = None,
) -> Records:
    """The API's router, the certificate, and what leads to the Hub's error pages and to servers.

    Whatever the store has that still fits is kept, so that a restart writes nothing.

    Args:
        tls: what ``c.JupyterHub.internal_ssl`` asks for; None if it is off.
        counts: whether Traefik counts requests.
        ready: whether it can tell that it is ready.
        question: how the Hub asks where the users come in; None if it doesn't.
        certificate: the record of the admin's own, where Traefik finds it elsewhere than the Hub.
    """
    users = [polling_user(polling.username, polling.password)]
    if (
        settings.api_username == polling.username
        or not settings.api_username.isprintable()
        or (":" in settings.api_username)
    ):
        raise ValueError(
            f"c.TraefikProxy.traefik_api_username = {settings.api_username!r} can't be used: "
            f"{polling.username!r} is the proxy's own, and a name holds no colon"
        )
    if settings.api_hashed_password:
        users.append(f"{settings.api_username}:{settings.api_hashed_password}")
    elif settings.api_password:
        known = api_users(snapshot.records)
        users.append(
            await in_thread(admin_user, settings.api_username, settings.api_password, known)
        )
    return {
        **api_records(settings.api_entry_point, users),
        **(certificate or _certificate(settings, snapshot)),
        **(https_records(settings.https) if settings.https else {}),
        **own_transport(settings, tls),
        **(error_page_records(pages, tls.fields if tls else None) if pages else {}),
        **(metrics_records(settings.api_entry_point) if counts else {}),
        **(ready_records(settings.api_entry_point) if ready else {}),
        **(generation_records(settings.entry_point, question) if question else {}),
    }


def base_keys(settings: SessionSettings, pages: HubPages | None) -> frozenset[Key]:
    """The keys of all that ``base_records`` may have made with these options."""
    return frozenset(
        {
            *api_records("", []),
            *metrics_records(""),
            *ready_records(""),
            *generation_records("", question_for("", "")),
            *(https_records(settings.https) if settings.https else {}),
            *(error_page_records(pages) if pages else {}),
            CERTIFICATE_KEY,
            TRANSPORT_KEY,
        }
    )


def own_transport(settings: SessionSettings, tls: TransportTls | None) -> Records:
    """That of targets with TLS, with the admin's limits; none without ``internal_ssl``."""
    if tls is None:
        return {}
    common = merge(
        dict(SERVERS_TRANSPORT), settings.extra_static_config.get("serversTransport", {})
    )
    return transport_records(tls, common if isinstance(common, dict) else {})


def _certificate(settings: SessionSettings, snapshot: Snapshot) -> Records:
    if settings.ssl_cert:
        return certificate_record(
            os.path.abspath(settings.ssl_cert), os.path.abspath(settings.ssl_key)
        )
    match snapshot.records.get(CERTIFICATE_KEY):
        case {"defaultCertificate": {"certFile": str(certificate), "keyFile": str(key)}}:
            if still_good(certificate):
                return certificate_record(certificate, key)
    return certificate_record(*make_default_certificate())
