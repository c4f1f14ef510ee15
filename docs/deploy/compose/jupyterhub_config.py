"""A Hub in a container, with its routes in etcd; HAProxy and the Traefiks are containers, too."""

import os
from pathlib import Path

c = get_config()  # noqa: F821


def secret(name: str) -> str:
    """One of the secrets in compose.yaml. An empty password would let everybody in."""
    word = Path("/run/secrets", name).read_text().strip()
    if not word:
        raise ValueError(f"{name.upper()} is empty: fill in .env")
    return word


# --- the proxy ---------------------------------------------------------------------------------

c.JupyterHub.proxy_class = "traefikhub"
c.JupyterHub.bind_url = "http://:8000"  # where the Traefiks listen
c.TraefikProxy.should_start = False
c.TraefikProxy.traefik_api_url = "http://traefik-api:8099"  # resolves to both
c.TraefikProxy.traefik_api_entrypoint = "api"  # auth_api can't be said in variables
c.TraefikProxy.trusted_proxies = ["172.30.10.0/24"]  # the network "front"
c.TraefikProxy.drain_seconds = 300

c.TraefikProxy.store = "etcd"
c.EtcdStore.endpoints = ["etcd-1:2379", "etcd-2:2379", "etcd-3:2379"]
c.EtcdStore.username = "hub"
c.EtcdStore.password = secret("etcd_hub_password")
c.EtcdStore.traefik_username = "hub-traefik"
c.EtcdStore.traefik_password = secret("etcd_traefik_password")

# After a change here: traefikhub static-config, as docs/deploy/compose.md says.
still_open = {"transport": {"lifeCycle": {"requestAcceptGraceTimeout": "10s"}}}
c.TraefikProxy.extra_static_config = {
    "ping": {"entryPoint": "ping", "manualRouting": False},
    "entryPoints": {
        "http": still_open,
        "api": still_open,
        "ping": {"address": ":8082", **still_open},
    },
}
# /ping: it runs. /ready: it has its routes, of which this is one.
c.TraefikProxy.extra_dynamic_config = {
    "http": {
        "routers": {
            "ready": {"rule": "Path(`/ready`)", "entryPoints": ["ping"], "service": "ping@internal"}
        }
    }
}

# --- the Hub -----------------------------------------------------------------------------------

c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.cleanup_servers = False  # users' servers outlive the Hub
os.environ["JUPYTERHUB_CRYPT_KEY"] = secret("crypt_key")

c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "quay.io/jupyter/base-notebook:2025-07-14"
c.DockerSpawner.network_name = "hub-users"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.volumes = {"jupyter-{username}": "/home/jovyan/work"}

# For a first try. Then choose an authenticator: who is let in is up to it.
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = secret("login_password")
c.Authenticator.allow_all = True
