"""A Hub with a certificate from an ACME authority, as people come to it: by its name, without
``https://`` before it."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from browser.chromium import Page, chromium_page, chromium_program
from browser.test_dashboard_in_browser import PICTURES
from hubs import Hub
from servers.pebble import Pebble
from support import free_port

NAME = "hub.example.test"
LEADS_HERE = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"


class AcmeHub(Hub):
    """A Hub with the few lines that an admin writes."""

    def __init__(self, directory: Path, pebble: Pebble, *, http: int, https: int) -> None:
        options = {
            "JupyterHub.bind_url": f"https://127.0.0.1:{https}",
            "TraefikProxy.acme_domains": [NAME],
            "TraefikProxy.acme_ca_server": pebble.directory_url,
            "TraefikProxy.acme_ca_certificates": [pebble.ca],
            "TraefikProxy.http_port": http,
        }
        super().__init__(directory, options)
        self.entrance = f"http://{NAME}:{http}/hub/home"
        self._kept = directory / "jupyterhub-traefik" / "acme.json"

    def is_up(self, process: subprocess.Popen[bytes]) -> bool:
        """With a certificate, for which Traefik asks when there are routes."""
        assert process.poll() is None, self.log()
        return self._kept.exists() and '"certificate"' in self._kept.read_text()


def believing(signer: str) -> str:
    """The flag by which the browser takes what this one signs, and nothing else."""
    key = x509.load_pem_x509_certificate(signer.encode()).public_key()
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(*form))
    found = base64.b64encode(digest.finalize()).decode()
    return f"--ignore-certificate-errors-spki-list={found}"


def log_in(page: Page, name: str) -> None:
    page.wait("!!document.querySelector('#login_submit')", "the Hub's login")
    for field, text in (("username", name), ("password", "a test's password")):
        page.run(f"document.querySelector('#{field}_input').value = {json.dumps(text)}")
    page.run("document.querySelector('#login_submit').click()")


def test_a_hub_with_a_certificate_from_an_authority(hub_directory: Path) -> None:
    chromium_program()  # before all that takes time
    http, https = free_port(), free_port()
    with Pebble(hub_directory / "pebble", http_port=http, tls_port=https) as pebble:
        hub = AcmeHub(hub_directory, pebble, http=http, https=https)
        with hub.running():
            signer = pebble.signer()
            with chromium_page(hub_directory / "ada", LEADS_HERE, believing(signer)) as page:
                page.open(hub.entrance)
                page.wait("document.location.protocol === 'https:'", "https")
                log_in(page, "ada")
                page.wait_for_text("Start My Server")
                assert page.run("window.isSecureContext")
                assert page.run("document.location.host") == f"{NAME}:{https}"
                page.screenshot(PICTURES / "https.png")
                assert page.complaints == []
            with chromium_page(hub_directory / "stranger", LEADS_HERE) as page:
                page.open(hub.entrance)
                page.wait_for_text("ERR_CERT_AUTHORITY_INVALID")
