"""The certificates of JupyterHub's ``internal_ssl``, made by JupyterHub itself, and servers that
have one of them."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import SimpleNamespace

from certipy import Certipy
from jupyterhub.app import JupyterHub

from support import hub_app

__all__ = ["app_with_internal_ssl", "server_tls", "signed"]

_SEEN = (
    *("internal_ssl", "internal_certs_location", "internal_proxy_certs"),
    *("internal_trust_bundles", "internal_ssl_cert", "internal_ssl_key"),
)
_NAMES = ["DNS:localhost", "IP:127.0.0.1"]


async def app_with_internal_ssl(directory: Path, *, anew: bool = False) -> SimpleNamespace:
    """What a proxy sees of a JupyterHub that has made its certificates, or found them, there.

    Args:
        anew: have all made again, as ``recreate_internal_certs`` does.
    """
    hub = JupyterHub(
        internal_ssl=True, internal_certs_location=str(directory), recreate_internal_certs=anew
    )
    hub.init_internal_ssl()
    return hub_app(**{name: getattr(hub, name) for name in _SEEN})


def signed(directory: Path, authority: str, name: str) -> tuple[str, str]:
    """A certificate of this machine and its key, signed by an authority, which is made if it isn't
    in the directory yet."""
    certipy = Certipy(store_dir=str(directory))
    if not (directory / authority).exists():
        certipy.create_ca(authority)
    files = certipy.create_signed_pair(name, authority, alt_names=_NAMES, overwrite=True)["files"]
    return files["cert"], files["key"]


def server_tls(app: SimpleNamespace, certificate: tuple[str, str]) -> ssl.SSLContext:
    """For a server with this certificate, to which its Hub's proxy may come, and no stranger."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(app.internal_trust_bundles["notebooks-ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context
