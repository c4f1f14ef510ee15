"""pebble, Let's Encrypt's ACME server for tests, with a name server that says 127.0.0.1 to all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import requests

from servers import require
from support import free_port, wait_until
from traefikhub.testing import Certificates
from traefikhub.traefik.https import resolver_name

__all__ = ["Pebble"]

_FETCHED = Path(__file__).resolve().parents[2] / ".cache" / "pebble" / "usr" / "bin"


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=_FETCHED)
    return require("pebble", found, "python tools/fetch_pebble.py")


class Pebble:
    """An authority on loopback. Use it as a context manager.

    Args:
        directory: for configuration and log; made if absent.
        http_port, tls_port: where it asks for http-01 and tls-alpn-01.
        days: how long what it signs is good.
        refuses: a name for which it gives nothing.

    ca: the file with the certificate by which it is believed.
    directory_url: where ACME begins.
    dns: its name server, ``host:port``.
    name_server: the URL by which that is told what to say.
    """

    def __init__(
        self, directory: Path, *, http_port: int, tls_port: int, days: int = 90, refuses: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._programs = _program("pebble"), _program("pebble-challtestsrv")
        self._certificates = Certificates.make(directory / "tls")
        self._ports = http_port, tls_port
        self._days, self._refuses = days, refuses
        self._processes: list[subprocess.Popen[bytes]] = []
        port, self._management = free_port(), free_port()
        self._dns_management = free_port()
        self.dns = f"127.0.0.1:{free_port()}"
        self.name_server = f"http://127.0.0.1:{self._dns_management}"
        self._listen = f"127.0.0.1:{port}"
        self.ca = self._certificates.ca
        self.directory_url = f"https://127.0.0.1:{port}/dir"

    def __enter__(self) -> Pebble:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        config = self._directory / "pebble.json"
        settings = {
            "listenAddress": self._listen,
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": self._certificates.server_cert,
            "privateKey": self._certificates.server_key,
            "httpPort": self._ports[0],
            "tlsPort": self._ports[1],
            "certificateValidityPeriod": self._days * 86400,
            "domainBlocklist": [self._refuses] if self._refuses else [],
        }
        config.write_text(json.dumps({"pebble": settings}))
        pebble, name_server = self._programs
        dns = self.dns
        self._run(
            *(name_server, "-dns01", dns, "-http01", "", "-https01", "", "-tlsalpn01", ""),
            *("-management", f"127.0.0.1:{self._dns_management}"),
            *("-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
        )
        self._run(pebble, "-config", str(config), "-dnsserver", dns)
        wait_until(self._answers, "pebble")

    def _run(self, *command: str) -> None:
        # Else it waits for seconds and refuses good nonces, to try its clients.
        environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        with (self._directory / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            )

    def _answers(self) -> bool:
        try:
            return requests.get(self.directory_url, verify=self.ca, timeout=5).ok
        except requests.RequestException:
            return False

    @property
    def resolver_name(self) -> str:
        """What Traefik calls it."""
        return resolver_name(self.directory_url)

    def root(self) -> str:
        """The certificate that browsers know, as PEM."""
        return self._certificate("roots")

    def signer(self) -> str:
        """The one below it that signs, which servers show with their own."""
        return self._certificate("intermediates")

    def _certificate(self, kind: str) -> str:
        url = f"https://127.0.0.1:{self._management}/{kind}/0"
        return requests.get(url, verify=self.ca, timeout=5).text

    def stop(self) -> None:
        """End it."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes = []
