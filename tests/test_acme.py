"""Certificates that Traefik gets from an ACME authority: a real one, on loopback."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from traitlets.config import Config

from conftest import MakeProxy
from servers.pebble import Pebble
from support import Backend, free_port, hub_app, wait_until
from traefikhub import TraefikProxy
from traefikhub.metrics import metrics_of_hub
from traefikhub.session import _certificate_sources, _certificate_watch
from traefikhub.traefik import TraefikUnusable

pytestmark = pytest.mark.anyio

MakeBackend = Callable[[str], Backend]
in_thread = anyio.to_thread.run_sync

NAME = "hub.example.test"


class Site:
    """An authority, and the ports on which it will ask."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.http, self.https = free_port(), free_port()

    @contextmanager
    def authority(self, **options: Any) -> Iterator[Pebble]:
        made = Pebble(
            self.directory / "pebble", http_port=self.http, tls_port=self.https, **options
        )
        with made as pebble:
            yield pebble

    def options(self, pebble: Pebble, **options: Any) -> dict[str, Any]:
        """Those of a proxy."""
        return {
            "public_url": f"http://127.0.0.1:{self.https}",
            "http_port": self.http,
            "acme_domains": [NAME],
            "acme_ca_server": pebble.directory_url,
            "acme_ca_certificates": [pebble.ca],
        } | options

    def shown(self, root: str, name: str = NAME) -> dict[str, Any]:
        """What a browser makes of the certificate, that believes this authority; empty if it
        doesn't like it."""
        context = ssl.create_default_context(cadata=root)
        line = socket.create_connection(("127.0.0.1", self.https), timeout=10)
        try:
            with context.wrap_socket(line, server_hostname=name) as wrapped:
                return dict(wrapped.getpeercert() or {})
        except ssl.SSLError:
            return {}
        finally:
            line.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def started(proxy: TraefikProxy, target: str) -> TraefikProxy:
    await proxy.start()
    await proxy.add_route("/", target, {})
    return proxy


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
async def test_a_certificate_from_one_line(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    site: Site,
    challenge: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    caplog.set_level("INFO")
    with site.authority() as pebble:
        names = [NAME, "www.example.test"]
        options = site.options(pebble, acme_challenge=challenge, acme_domains=names)
        proxy = make_proxy(**options, acme_email="it@example.test")
        await started(proxy, backend("hub").url)
        root = await in_thread(pebble.root)
        found = await in_thread(wait_until, lambda: site.shown(root), "the certificate")
        assert {name for _, name in found["subjectAltName"]} == set(names)
        storage = Path(proxy.run_dir) / "acme.json"
        assert storage.stat().st_mode & 0o777 == 0o600

        def is_told() -> bool:
            return any(f"has the certificate for {NAME}" in text for text in caplog.messages)

        await in_thread(wait_until, is_told, "the Hub to know of it")
        ends = ssl.cert_time_to_seconds(found["notAfter"])
        samples = [
            sample.value
            for metric in metrics_of_hub()._standing.collect()
            for sample in metric.samples
            if sample.name == "traefikhub_certificate_expiry_timestamp_seconds"
        ]
        assert samples == [ends]
    # It is there after a restart, with no authority to be asked.
    await proxy.stop()
    await proxy.start()
    again = await in_thread(wait_until, lambda: site.shown(root), "the certificate")
    assert again["serialNumber"] == found["serialNumber"]


async def test_one_that_ends_soon_is_renewed(
    make_proxy: MakeProxy, backend: MakeBackend, site: Site
) -> None:
    with site.authority(days=20) as pebble:
        proxy = make_proxy(**site.options(pebble))
        await started(proxy, backend("hub").url)
        root = await in_thread(pebble.root)
        first = await in_thread(wait_until, lambda: site.shown(root), "the certificate")
        await proxy.stop()
        await proxy.start()

        def is_another() -> bool:
            return site.shown(root).get("serialNumber", "") not in ("", first["serialNumber"])

        await in_thread(wait_until, is_another, "a renewed one")


async def test_an_authority_that_refuses(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(_certificate_sources, "_PATIENCE_SECONDS", 3.0)
    with site.authority(refuses=NAME) as pebble:
        proxy = await started(make_proxy(**site.options(pebble)), backend("hub").url)

        def told() -> str:
            return next((text for text in caplog.messages if "no certificate for" in text), "")

        text = await in_thread(wait_until, told, "a warning")
        # With what the authority said.
        assert NAME in text
        assert pebble.directory_url in text
        assert "rejectedIdentifier" in text
        # Users aren't kept out: they get the Hub's own certificate, with a warning of the browser.
        assert ssl.get_server_certificate(("127.0.0.1", site.https))
        await proxy.add_route("/user/ada/", "http://127.0.0.1:1", {})


async def test_over_dns_with_what_the_provider_needs(
    make_proxy: MakeProxy, backend: MakeBackend, site: Site, tmp_path: Path
) -> None:
    script = tmp_path / "records.py"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys, urllib.request\n"
        "what = {'present': 'set-txt', 'cleanup': 'clear-txt'}[sys.argv[1]]\n"
        "record = {'host': sys.argv[2], 'value': sys.argv[3]}\n"
        "url = os.environ['TEST_NAME_SERVER'] + '/' + what\n"
        "urllib.request.urlopen(url, json.dumps(record).encode()).read()\n"
    )
    script.chmod(0o755)
    with site.authority() as pebble:
        options = site.options(pebble, acme_domains=[f"*.{NAME}"], http_port=0)
        proxy = make_proxy(
            **options,
            acme_dns_provider="exec",
            traefik_env={"EXEC_PATH": str(script), "TEST_NAME_SERVER": pebble.name_server},
            extra_static_config={
                "certificatesResolvers": {
                    pebble.resolver_name: {
                        "acme": {
                            "dnsChallenge": {
                                "resolvers": [pebble.dns],
                                "propagation": {"disableChecks": True},
                            }
                        }
                    }
                }
            },
        )
        await started(proxy, backend("hub").url)
        root = await in_thread(pebble.root)
        user = f"ada.{NAME}"
        assert await in_thread(
            wait_until, lambda: site.shown(root, user), "a certificate for all names below"
        )


async def test_the_staging_servers_certificate_is_not_shown_for_the_real_ones(
    make_proxy: MakeProxy, backend: MakeBackend, site: Site
) -> None:
    with site.authority() as pebble:
        proxy = make_proxy(**site.options(pebble))
        await started(proxy, backend("hub").url)
        root = await in_thread(pebble.root)
        await in_thread(wait_until, lambda: site.shown(root), "the certificate")
    await proxy.stop()
    # Another authority, which nobody can reach now.
    proxy.acme_ca_server = "https://127.0.0.1:1/dir"
    await proxy.start()
    assert await in_thread(site.shown, root) == {}
    kept = json.loads((Path(proxy.run_dir) / "acme.json").read_text())
    assert len([name for name in kept if kept[name].get("Certificates")]) == 1


async def test_a_name_that_is_added_and_refused_is_told_of(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(_certificate_sources, "_PATIENCE_SECONDS", 3.0)
    caplog.set_level("INFO")
    other = "other.example.test"
    with site.authority(refuses="refused.example.test") as pebble:
        proxy = make_proxy(**site.options(pebble, acme_domains=[NAME, other]))
        await started(proxy, backend("hub").url)
        root = await in_thread(pebble.root)
        await in_thread(wait_until, lambda: site.shown(root), "the certificate")
        await proxy.stop()

        def told(what: str) -> list[str]:
            return [text for text in caplog.messages if what in text]

        # The same names in another order are no others.
        caplog.clear()
        proxy.acme_domains = [other, NAME]
        await proxy.start()
        await in_thread(wait_until, lambda: told("has the certificate for"), "what it has")
        await proxy.stop()
        caplog.clear()
        proxy.acme_domains = [NAME, "refused.example.test"]
        await proxy.start()
        warning = await in_thread(wait_until, lambda: told("no certificate for"), "a warning")
        assert "no certificate for refused.example.test from" in warning[0]
        assert not told("has the certificate for")


async def test_one_that_lives_for_days_only_is_no_reason_to_warn(
    make_proxy: MakeProxy,
    backend: MakeBackend,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(_certificate_watch, "_LOOK_SECONDS", 0.1)
    caplog.set_level("INFO")
    with site.authority(days=7) as pebble:
        resolver = {"acme": {"certificatesDuration": 168}}
        more = {"certificatesResolvers": {pebble.resolver_name: resolver}}
        proxy = make_proxy(**site.options(pebble, extra_static_config=more))
        await started(proxy, backend("hub").url)

        def told() -> bool:
            return any("has the certificate for" in text for text in caplog.messages)

        await in_thread(wait_until, told, "what it has")
        assert not [text for text in caplog.messages if "expires" in text]


@pytest.mark.parametrize("text", ["{broken", "[]"])
async def test_a_storage_that_traefik_could_not_read(make_proxy: MakeProxy, text: str) -> None:
    proxy = make_proxy(**REAL)
    Path(proxy.run_dir).mkdir(mode=0o700)
    (Path(proxy.run_dir) / "acme.json").write_text(text)
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.acme_storage.*backup"):
        await proxy.start()


REAL = {"acme_domains": [NAME], "public_url": "http://127.0.0.1:8443"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"acme_domains": ["https://hub.test/"]}, ("acme_domains", "host name")),
        ({"acme_domains": ["10.0.0.1"]}, ("acme_domains", "address")),
        ({"acme_domains": ["localhost"]}, ("acme_domains", "host name")),
        ({"acme_domains": ["*.hub.example.org"]}, ("acme_domains", "acme_dns_provider")),
        ({"acme_domains": [], "acme_email": "a@b.test"}, ("acme_domains", "empty")),
        ({"acme_email": "nobody"}, ("acme_email", "'nobody'")),
        ({"acme_ca_server": "http://ca.test/dir"}, ("acme_ca_server", "'staging'", "https")),
        ({"acme_challenge": "http-01"}, ("acme_challenge", "http_port = 80")),
        ({"acme_challenge": "dns-01"}, ("acme_challenge", "acme_dns_provider")),
        (
            {"acme_challenge": "http-01", "http_port": 8080, "acme_dns_provider": "exec"},
            ("acme_dns_provider",),
        ),
        ({"acme_dns_provider": "No such; one"}, ("acme_dns_provider", "provider")),
        ({"acme_ca_certificates": ["/nope.pem"]}, ("acme_ca_certificates", "No such file")),
        ({"acme_ca_certificates": [os.devnull]}, ("acme_ca_certificates", "PEM")),
        ({"ssl_cert": "/a.pem", "ssl_key": "/b.pem"}, ("ssl_cert", "acme_domains", "one of them")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_options_that_make_no_sense(
    make_proxy: MakeProxy, options: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(TraefikUnusable) as caught:
        await make_proxy(**REAL | options).start()
    assert all(word in str(caught.value) for word in words), caught.value


async def test_with_a_traefik_that_others_run_it_says_what_to_do_instead(
    make_proxy: MakeProxy,
) -> None:
    proxy = make_proxy(**REAL, should_start=False)
    with pytest.raises(TraefikUnusable, match="each would get a certificate of its own") as caught:
        await proxy.get_all_routes()
    assert "cert-manager" in str(caught.value)
    assert "ssl_cert" in str(caught.value)


async def test_one_line_is_enough(make_proxy: MakeProxy) -> None:
    def made(**hub: Any) -> TraefikProxy:
        app = hub_app(config=Config({"JupyterHub": hub}))
        return make_proxy(app=app, public_url="http://:8000/base/", acme_domains=[NAME])

    proxy = made()
    assert (proxy.public_url, proxy.http_port) == ("https://:443/base/", 80)
    assert proxy.traefik_entrypoint == "https"
    proxy = made(ip="127.0.0.1")
    assert proxy.public_url == "https://:443/base/"
    # What the admin says of the port counts.
    proxy = made(bind_url="https://:8000")
    assert (proxy.public_url, proxy.http_port) == ("https://:8000/base/", 0)
