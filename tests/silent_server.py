"""A user's server that never tells the Hub of its activity, as plain web applications don't.

Run by a Spawner. Answers every request; ``/ws`` becomes a websocket on which nothing is said.
"""

from __future__ import annotations

import base64
import hashlib
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer, or hold the websocket until the client closes it."""
        if key := self.headers.get("Sec-WebSocket-Key"):
            digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "websocket")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
            self.end_headers()
            self.wfile.flush()
            while self.rfile.read(1):
                pass
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    server = ThreadingHTTPServer((address.hostname or "127.0.0.1", address.port or 0), Handler)
    server.daemon_threads = True
    server.serve_forever()
