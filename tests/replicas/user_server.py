"""What a user's server is here: says whose it is, on pages and over websockets."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

NAME = os.environ.get("JUPYTERHUB_USER", "")


class Page(RequestHandler):
    """Any page."""

    def get(self) -> None:
        self.write(f"{NAME} {self.request.path}")


class Echo(WebSocketHandler):
    """Says again what it hears."""

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(f"{NAME} {message!s}")


async def serve() -> None:
    """Until it is killed."""
    address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    Application([(".*/socket", Echo), (".*", Page)]).listen(address.port or 0, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
