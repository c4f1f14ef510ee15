"""A Traefik that the Hub does not start (``should_start = False``)."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
import requests
from traitlets.config import Config

from certificates import write_certificate
from conftest import MakeProxy
from support import Backend, ask, run_traefik
from traefikhub import TraefikProxy
from traefikhub.session import external_static
from traefikhub.testing import Certificates
from traefikhub.traefik import ApiRejected, NotLive, TraefikUnusable, Version

pytestmark = pytest.mark.anyio


@contextmanager
def external(proxy: TraefikProxy, tmp_path: Path, **providers: Any) -> Iterator[None]:
    """A Traefik with entry points of the usual names that reads the proxy's routes file."""
    # Traefik reads a directory that exists when it starts; as "filename", the file would have to.
    routes = tmp_path / "run"
    static = {
        "api": {},
        "log": {"level": "INFO"},
        "providers": providers or {"file": {"directory": str(routes), "watch": True}},
        "entryPoints": {
            "http": {"address": urlsplit(proxy.public_url).netloc},
            "auth_api": {"address": urlsplit(proxy.traefik_api_url).netloc},
        },
    }
    routes.mkdir(mode=0o700, exist_ok=True)
    with run_traefik(tmp_path, static):
        yield


def admins_api_router(directory: Path) -> None:
    """What an admin who configures the API's router elsewhere writes."""
    digest = base64.b64encode(hashlib.sha1(b"right").digest()).decode()
    (directory / "api.toml").write_text(
        f"""
        [http.routers.api]
        rule = "PathPrefix(`/api`) || PathPrefix(`/dashboard`)"
        entryPoints = ["auth_api"]
        service = "api@internal"
        middlewares = ["auth"]
        [http.middlewares.auth.basicAuth]
        users = ["ada:{{SHA}}{digest}"]
        """
    )


async def test_routes_are_served_without_start(
    make_proxy: MakeProxy, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    proxy = make_proxy(should_start=False)
    with external(proxy, tmp_path):
        assert await proxy.get_all_routes() == {}
        await proxy.add_route("/user/mary/", backend("mary").url, {"user": "mary"})
        url = f"{proxy.public_url}/user/mary/"
        assert (await anyio.to_thread.run_sync(ask, url))[1]["name"] == "mary"
        assert list(await proxy.get_all_routes()) == ["/user/mary/"]
        await proxy.delete_route("/user/mary/")
        assert (await anyio.to_thread.run_sync(ask, url))[0] == 404


async def test_many_first_calls_connect_once(make_proxy: MakeProxy, tmp_path: Path) -> None:
    proxy = make_proxy(should_start=False)
    with external(proxy, tmp_path):
        async with anyio.create_task_group() as group:
            for number in range(20):
                target = "http://127.0.0.1:1"
                group.start_soon(proxy.add_route, f"/user/u{number}/", target, {})
        assert len(await proxy.get_all_routes()) == 20


async def test_a_traefik_that_is_not_there_is_told_and_tried_again(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    proxy = make_proxy(should_start=False, check_route_timeout=1)
    with pytest.raises(NotLive, match=r"refused.*c\.TraefikProxy\.traefik_api_url"):
        await proxy.get_all_routes()
    proxy.check_route_timeout = 30
    with external(proxy, tmp_path):
        assert await proxy.get_all_routes() == {}


async def test_what_is_said_of_options_is_said_once(
    make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """While Traefik can't be reached, each use of the proxy tries anew."""
    config = Config()
    config.TraefikEtcdProxy.etcd_url = "http://127.0.0.1:2379"
    config.EtcdStore.prefix = "hub-a"
    proxy = make_proxy(
        should_start=False,
        check_route_timeout=0.2,
        config=config,
        log=logging.getLogger("traefikhub-test"),
    )
    for _ in range(3):
        with pytest.raises(NotLive):
            await proxy.get_all_routes()
    texts = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len([text for text in texts if text.startswith("c.TraefikEtcdProxy.etcd_url")]) == 1
    assert len([text for text in texts if text.startswith("c.EtcdStore.prefix")]) == 1


async def test_error_pages_wait_until_the_version_is_known(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    """Before 3.7 Traefik refuses a configuration with them as a whole, its API's router too."""
    hub = SimpleNamespace(host="http://127.0.0.1:9", base_url="/hub/", routespec="/")
    proxy = make_proxy(should_start=False, check_route_timeout=1, hub=hub)
    routes = tmp_path / "run" / "routes.toml"
    with pytest.raises(NotLive):
        await proxy.get_all_routes()
    assert "traefikhub__api" in routes.read_text()
    assert "errorRequestHeaders" not in routes.read_text()
    await proxy.stop()
    proxy = make_proxy(should_start=False, hub=hub)
    with external(proxy, tmp_path):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
    assert "errorRequestHeaders" in routes.read_text()
    # An earlier Hub's stay meanwhile: users see no difference when the Hub is started again.
    await proxy.stop()
    proxy = make_proxy(should_start=False, check_route_timeout=1, hub=hub)
    with pytest.raises(NotLive):
        await proxy.get_all_routes()
    assert "errorRequestHeaders" in routes.read_text()


async def test_a_traefik_that_reads_something_else(make_proxy: MakeProxy, tmp_path: Path) -> None:
    proxy = make_proxy(
        should_start=False,
        check_route_timeout=2,
        enable_setup_dynamic_config=False,
        traefik_api_username="ada",
        traefik_api_password="right",
    )
    (tmp_path / "elsewhere").mkdir()
    admins_api_router(tmp_path / "elsewhere")
    with (
        external(proxy, tmp_path, file={"directory": str(tmp_path / "elsewhere")}),
        pytest.raises(NotLive, match=r"providers\.file.*c\.TraefikProxy\.store"),
    ):
        await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})


@pytest.mark.parametrize("setup", [True, False])
@pytest.mark.parametrize("password", ["right", "wrong"])
async def test_the_password_of_an_api_router_configured_elsewhere(
    make_proxy: MakeProxy, tmp_path: Path, setup: bool, password: str
) -> None:
    proxy = make_proxy(
        should_start=False,
        enable_setup_dynamic_config=setup,
        traefik_api_username="ada",
        traefik_api_password=password,
    )
    (tmp_path / "run").mkdir(mode=0o700)
    admins_api_router(tmp_path / "run")
    with external(proxy, tmp_path, file={"directory": str(tmp_path / "run")}):
        if password == "right":
            await proxy.add_route("/user/mary/", "http://127.0.0.1:1", {})
            assert list(await proxy.get_all_routes()) == ["/user/mary/"]
        else:
            with pytest.raises(ApiRejected) as caught:
                await proxy.get_all_routes()
            assert "c.TraefikProxy.traefik_api_password" in str(caught.value)
            assert "wrong" not in str(caught.value)


async def test_an_api_over_https_is_believed_by_its_authority_only(
    make_proxy: MakeProxy, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    made, others = Certificates.make(tmp_path / "tls"), Certificates.make(tmp_path / "other")
    url = make_proxy().traefik_api_url.replace("http:", "https:")
    options: dict[str, Any] = {
        "should_start": False,
        "traefik_api_url": url,
        "check_route_timeout": 2,
    }
    routes = tmp_path / "run"
    routes.mkdir(mode=0o700)
    static = {
        "api": {},
        "providers": {"file": {"directory": str(routes), "watch": True}},
        "entryPoints": {
            "http": {"address": urlsplit(make_proxy().public_url).netloc},
            "auth_api": {"address": urlsplit(url).netloc, "http": {"tls": {}}},
        },
    }
    certificate = {"certFile": made.server_cert, "keyFile": made.server_key}
    extra = {"tls": {"certificates": [certificate]}}
    for wrong in ({}, {"traefik_api_ca": others.ca}):
        proxy = make_proxy(**options, **wrong, extra_dynamic_config=extra)
        with run_traefik(tmp_path, static), pytest.raises(NotLive) as caught:
            await proxy.get_all_routes()
        assert "certificate" in str(caught.value)
        assert "c.TraefikProxy.traefik_api_ca" in str(caught.value)
        await proxy.stop()
    proxy = make_proxy(
        **options | {"check_route_timeout": 30}, traefik_api_ca=made.ca, extra_dynamic_config=extra
    )
    with run_traefik(tmp_path, static):
        await proxy.add_route("/", backend("hub").url, {})
        found = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}/")
        assert found[1]["name"] == "hub"
        await proxy.stop()
    for file in ("/nope.pem", made.server_key):
        with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.traefik_api_ca"):
            await make_proxy(**options, traefik_api_ca=file).get_all_routes()


async def test_hsts_that_is_given_up_costs_no_page(
    make_proxy: MakeProxy, tmp_path: Path, backend: Callable[[str], Backend]
) -> None:
    """That Traefik's entry point still names the middleware."""
    certificate, key = write_certificate(tmp_path, 90)
    url = make_proxy().public_url.replace("http:", "https:")
    options = {
        "should_start": False,
        "public_url": url,
        "ssl_cert": str(certificate),
        "ssl_key": str(key),
    }
    first = make_proxy(**options, hsts_seconds=300)
    static = external_static(first.session_settings(), Version(3, 7, 15))
    (tmp_path / "run").mkdir(mode=0o700)
    static["providers"] = {"file": {"directory": str(tmp_path / "run"), "watch": True}}

    def page() -> tuple[int, str]:
        with requests.Session() as session:
            session.trust_env, session.verify = False, False
            with pytest.warns(match="Unverified HTTPS"):
                answer = session.get(f"{url}/", timeout=10)
        return answer.status_code, answer.headers.get("Strict-Transport-Security", "")

    with run_traefik(tmp_path, static):
        await first.add_route("/", backend("hub").url, {})
        assert await anyio.to_thread.run_sync(page) == (200, "max-age=300")
        await first.stop()
        second = make_proxy(**options)
        await second.add_route("/", backend("hub").url, {})
        assert await anyio.to_thread.run_sync(page) == (200, "")
