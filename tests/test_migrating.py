"""What jupyterhub-traefik-proxy leaves behind: it fares as docs/migrating.md says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import pytest
from traitlets.config import Config

from conftest import MakeProxy
from servers.stores import KeyValueServer
from support import Backend, ask, routers_in_api
from traefikhub import TraefikProxy
from traefikhub.stores import StoreCorrupt

pytestmark = pytest.mark.anyio

ROUTER = "router__2Fuser_2Fmary_2F"
SERVICE = "service__2Fuser_2Fmary_2F"


def read_by_traefik(target: str) -> dict[str, str]:
    """Below the prefix of version 2.1, of a hub with TLS."""
    return {
        "http/middlewares/auth_api/basicAuth/users/0": "jupyterhub:$2b$12$E1SqApMNmQn0ZqoiYTm2Ee",
        "http/routers/route_api/entryPoints/0": "auth_api",
        "http/routers/route_api/middlewares/0": "auth_api",
        "http/routers/route_api/rule": "Host(`127.0.0.1`) && PathPrefix(`/api`)",
        "http/routers/route_api/service": "api@internal",
        "http/routers/router__2F/entryPoints/0": "http",
        "http/routers/router__2F/rule": "PathPrefix(`/`)",
        "http/routers/router__2F/service": "service__2F",
        f"http/routers/{ROUTER}/entryPoints/0": "http",
        f"http/routers/{ROUTER}/rule": "( PathPrefix(`/user/mary/`) || Path(`/user/mary`) )",
        f"http/routers/{ROUTER}/service": SERVICE,
        "http/services/service__2F/loadBalancer/passHostHeader": "true",
        "http/services/service__2F/loadBalancer/servers/0/url": target,
        f"http/services/{SERVICE}/loadBalancer/passHostHeader": "true",
        f"http/services/{SERVICE}/loadBalancer/servers/0/url": target,
        "tls/stores/default/defaultCertificate/certFile": "/old/cert.pem",
        "tls/stores/default/defaultCertificate/keyFile": "/old/key.pem",
    }


BY_HAND = {
    "http/middlewares/slim/compress": "true",
    "tcp/routers/mail/rule": "HostSNI(`*`)",
    "tcp/routers/mail/service": "mail",
    "udp/services/dns/loadBalancer/servers/0/address": "127.0.0.1:53",
    "tls/options/default": "true",
}
"""What an admin may have added there."""

TRAEFIK_1 = {
    "backends/backend__2Fuser_2Fmary_2F/servers/server1/url": "http://127.0.0.1:1",
    "backends/backend__2Fuser_2Fmary_2F/servers/server1/weight": "1",
    "frontends/frontend__2Fuser_2Fmary_2F/backend": "backend__2Fuser_2Fmary_2F",
    "frontends/frontend__2Fuser_2Fmary_2F/routes/test/rule": "PathPrefix:/user/mary",
}
"""What no later Traefik reads."""


def read_by_the_hub(target: str) -> dict[str, str]:
    """Below its other prefix."""
    return {
        "routes/router__2F/data/hub": "true",
        "routes/router__2F/router": "router__2F",
        "routes/router__2F/routespec": "/",
        "routes/router__2F/service": "service__2F",
        "routes/router__2F/target": target,
        f"routes/{ROUTER}/data/server_name": "",
        f"routes/{ROUTER}/data/user": "mary",
        f"routes/{ROUTER}/router": ROUTER,
        f"routes/{ROUTER}/routespec": "/user/mary/",
        f"routes/{ROUTER}/service": SERVICE,
        f"routes/{ROUTER}/target": target,
    }


def below(prefix: str, keys: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}/{key}": value for key, value in keys.items()}


async def answer(proxy: TraefikProxy, path: str) -> tuple[int, str]:
    """Status and the name of the server."""
    status, body = await anyio.to_thread.run_sync(ask, f"{proxy.public_url}{path}")
    return status, body["name"] if isinstance(body, dict) else ""


@pytest.mark.parametrize("hub_prefix", ["jupyterhub", "traefik/jupyterhub"])
async def test_the_prefix_of_jupyterhub_traefik_proxy_can_be_used_again(
    key_value: KeyValueServer,
    make_proxy: MakeProxy,
    backend: Callable[[str], Backend],
    hub_prefix: str,
) -> None:
    old, new = backend("old").url, backend("new").url
    goes = below("traefik", read_by_traefik(old) | BY_HAND)
    stays = below(hub_prefix, read_by_the_hub(old)) | below("traefik", TRAEFIK_1)
    for key, value in (goes | stays).items():
        key_value.server.put(key, value)
    proxy = make_proxy(traefik_log_level="DEBUG", **key_value.options)
    await proxy.start()

    found = key_value.server.dump()
    assert stays.items() <= found.items()
    assert not goes.items() & found.items()
    # The default certificate of this one has the same place.
    assert all(key.startswith("traefik/tls/stores/default/") for key in goes.keys() & found.keys())
    assert await proxy.get_all_routes() == {}
    for path in ("/", "/user/mary/"):
        assert await answer(proxy, path) == (404, "")
    # Nor has Traefik seen any of it: the keys were gone before it started.
    log = (Path(proxy.run_dir) / "traefik.log").read_text()
    assert "Configuration received" in log
    for name in (ROUTER, "route_api", "slim", "mail", "/old/cert.pem"):
        assert name not in log

    await proxy.add_route("/", new, {"hub": True})
    await proxy.add_route("/user/mary/", new, {"user": "mary"})
    for path in ("/", "/user/mary/"):
        assert await answer(proxy, path) == (200, "new")
    assert set(await proxy.get_all_routes()) == {"/", "/user/mary/"}
    names = await anyio.to_thread.run_sync(routers_in_api, proxy)
    assert not {ROUTER, "router__2F", "route_api"} & names.keys()

    await proxy.delete_route("/user/mary/")
    await proxy.delete_route("/")
    assert await answer(proxy, "/user/mary/") == (404, "")
    assert stays.items() <= key_value.server.dump().items()


async def test_with_a_prefix_of_its_own_nothing_of_the_old_one_is_touched(
    key_value: KeyValueServer, make_proxy: MakeProxy, backend: Callable[[str], Backend]
) -> None:
    """So that there is a way back."""
    old = backend("old").url
    left = below("traefik", read_by_traefik(old) | BY_HAND | TRAEFIK_1)
    left |= below("jupyterhub", read_by_the_hub(old))
    for key, value in left.items():
        key_value.server.put(key, value)
    for store in ("EtcdStore", "ConsulStore"):
        key_value.options["config"][store].prefix = "hub-a"
    proxy = make_proxy(**key_value.options)
    await proxy.start()
    await proxy.add_route("/user/mary/", backend("new").url, {"user": "mary"})
    assert await answer(proxy, "/user/mary/") == (200, "new")
    assert await answer(proxy, "/") == (404, "")
    found = key_value.server.dump()
    assert {key: value for key, value in found.items() if not key.startswith("hub-a/")} == left


RULES_TOML = """\
[http.routers.router__2Fuser_2Fmary_2F]
service = "service__2Fuser_2Fmary_2F"
rule = "( PathPrefix(`/user/mary/`) || Path(`/user/mary`) )"
entryPoints = [ "http",]

[http.services.service__2Fuser_2Fmary_2F.loadBalancer]
passHostHeader = true
[[http.services.service__2Fuser_2Fmary_2F.loadBalancer.servers]]
url = "http://127.0.0.1:1"

[jupyterhub.routes.router__2Fuser_2Fmary_2F]
routespec = "/user/mary/"
target = "http://127.0.0.1:1"
router = "router__2Fuser_2Fmary_2F"
service = "service__2Fuser_2Fmary_2F"

[jupyterhub.routes.router__2Fuser_2Fmary_2F.data]
user = "mary"
server_name = ""
"""


async def test_the_file_of_jupyterhub_traefik_proxy_is_refused_and_kept(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES_TOML)
    config = Config()
    config.TomlFileStore.path = str(rules)
    with pytest.raises(StoreCorrupt) as caught:
        await make_proxy(config=config).start()
    assert rules.read_text() == RULES_TOML
    page = (Path(__file__).parents[1] / "docs" / "migrating.md").read_text(encoding="utf-8")
    text = str(caught.value).replace(str(tmp_path), "…")
    assert f"{text.partition('. ')[0]}. …" in page
    assert "c.TomlFileStore.path" in text
