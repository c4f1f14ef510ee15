"""Debian's chromium, without a screen, driven over its own DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import websocket

from support import wait_until

__all__ = ["Page", "chromium_page", "chromium_program"]

_FETCHED: Final = Path(__file__).parents[2] / ".cache" / "chromium" / "chromium"
_REQUIRED: Final = "TRAEFIKHUB_REQUIRE_BROWSER"


def chromium_program() -> str:
    """The one on PATH, or else the one that was fetched; skips the test if there is none."""
    if found := shutil.which("chromium") or shutil.which(_FETCHED):
        return found
    why = "no chromium; get it with: python tools/fetch_chromium.py"
    if os.environ.get(_REQUIRED):
        pytest.fail(f"{why} ({_REQUIRED} asks for it)")
    pytest.skip(why)


@contextmanager
def chromium_page(directory: Path, *flags: str) -> Iterator[Page]:
    """An empty page of a browser that has never been anywhere.

    Args:
        directory: for its profile and log; made.
        flags: more of chromium's.
    """
    program = chromium_program()
    directory.mkdir()
    with (directory / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "--headless", "--remote-debugging-port=0"),
                f"--user-data-dir={directory}",
                # The pages are the test's own, and a container may have no namespaces to give.
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"),
                *("--no-first-run", "--no-proxy-server", "--disable-background-networking"),
                *("--disable-component-update", "--disable-sync", "--window-size=1440,1000"),
                *flags,
                "about:blank",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        # Chromium writes there where it listens.
        file = directory / "DevToolsActivePort"

        def port() -> str:
            assert process.poll() is None, (directory / "chromium.log").read_text()
            return file.read_text().split("\n")[0] if file.exists() else ""

        found = wait_until(port, "chromium")
        (target,) = (
            each
            for each in requests.get(f"http://127.0.0.1:{found}/json/list", timeout=30).json()
            if each["type"] == "page"
        )
        connection = websocket.create_connection(
            target["webSocketDebuggerUrl"], timeout=30, suppress_origin=True
        )
        try:
            yield Page(connection)
        finally:
            connection.close()
    finally:
        process.terminate()
        process.wait(30)


class Page:
    """One tab.

    complaints: what the browser wrote into its console as errors, refused requests among them.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sent = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """What a script in the page evaluates to; None while there is no page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer.get("result", {}).get("value")

    def wait(self, script: str, what: str) -> Any:
        """Look until the script evaluates to something true; fails with what is in the page."""
        try:
            return wait_until(lambda: self.run(script), what)
        except AssertionError as error:
            seen = self.run("document.location.href + '\\n' + document.body.innerText")
            raise AssertionError(f"{error}\n{seen}\n{self.complaints}") from None

    def wait_for_text(self, text: str) -> None:
        """Look until a person can read that."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})", repr(text))

    def text(self) -> str:
        """What a person can read."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def screenshot(self, path: Path) -> None:
        """Save what a person sees, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self._connection.send(
            json.dumps({"id": self._sent, "method": method, "params": parameters})
        )
        while True:
            message = json.loads(self._connection.recv())
            if message.get("id") == self._sent:
                # A script fails where the page that it ran in has just gone.
                result: dict[str, Any] = message.get("result", {})
                return result
            self._hear(message)

    def _hear(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.complaints.append(json.dumps(details))
