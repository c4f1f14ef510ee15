"""/etc/jupyterhub/jupyterhub_config.py on hub-1, 10.0.0.11. Traefik is on 10.0.0.12 and 10.0.0.13,
etcd on all three."""

import os
from pathlib import Path

c = get_config()  # noqa: F821

credentials = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/etc/jupyterhub/credentials"))

# --- the proxy ---------------------------------------------------------------------------------

c.JupyterHub.proxy_class = "traefikhub"
c.JupyterHub.bind_url = "http://:8000"  # where the Traefiks listen
c.TraefikProxy.should_start = False
c.TraefikProxy.traefik_api_url = ["http://10.0.0.12:8099", "http://10.0.0.13:8099"]
c.TraefikProxy.trusted_proxies = ["10.0.0.11"]  # HAProxy
c.JupyterHub.trusted_downstream_ips = ["10.0.0.11"]  # the same, for the Hub's log
c.TraefikProxy.drain_seconds = 300

c.TraefikProxy.store = "etcd"
c.EtcdStore.endpoints = ["10.0.0.11:2379", "10.0.0.12:2379", "10.0.0.13:2379"]
c.EtcdStore.username = "hub"
c.EtcdStore.password = (credentials / "etcd-hub").read_text().strip()
c.EtcdStore.traefik_username = "hub-traefik"
c.EtcdStore.traefik_password = (credentials / "etcd-traefik").read_text().strip()

# After a change here: traefikhub static-config, as docs/deploy/three-machines.md says.
still_open = {"transport": {"lifeCycle": {"requestAcceptGraceTimeout": "10s"}}}
c.TraefikProxy.extra_static_config = {
    "ping": {"entryPoint": "ping", "manualRouting": False},
    "entryPoints": {
        "http": still_open,
        "auth_api": still_open,
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

c.JupyterHub.hub_bind_url = "http://10.0.0.11:8081"
c.JupyterHub.cleanup_servers = False  # users' servers outlive the Hub
c.JupyterHub.db_url = "sqlite:////var/lib/jupyterhub/jupyterhub.sqlite"

# Your own authenticator, and a spawner whose servers the two Traefiks reach.
# c.JupyterHub.authenticator_class = "github"
# c.JupyterHub.spawner_class = "docker"
