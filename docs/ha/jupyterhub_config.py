"""A Hub with its routes in three etcd members, read by two Traefiks behind HAProxy."""

import os

c = get_config()  # noqa: F821

c.JupyterHub.bind_url = "http://127.0.0.1:8000"  # HAProxy's: what users see
c.JupyterHub.hub_bind_url = "http://127.0.0.1:8081"
c.JupyterHub.cleanup_servers = False  # users' servers outlive the Hub

c.JupyterHub.proxy_class = "traefikhub"
c.TraefikProxy.should_start = False
c.TraefikProxy.traefik_api_url = ["http://127.0.0.2:8099", "http://127.0.0.3:8099"]
c.TraefikProxy.store = "etcd"
c.EtcdStore.endpoints = ["127.0.0.11:2379", "127.0.0.12:2379", "127.0.0.13:2379"]

# HAProxy, whose X-Forwarded-For and X-Forwarded-Proto are true.
c.TraefikProxy.trusted_proxies = ["127.0.0.1"]

# For "traefikhub static-config". On one machine, each replica has an address of its own, in the
# variable REPLICA. On machines of their own, all have the same file, and listen everywhere.
replica = os.environ.get("REPLICA", "")
c.TraefikProxy.extra_static_config = {
    "entryPoints": {
        "http": {
            "address": f"{replica}:8000",
            # For so long a Traefik that takes no requests any more keeps open websockets.
            "transport": {"lifeCycle": {"graceTimeOut": "12h"}},
        },
        "auth_api": {"address": f"{replica}:8099"},
    }
}

# While the Hub is started again, those who want a page of it wait.
c.TraefikProxy.extra_dynamic_config = {
    "http": {
        "routers": {
            "traefikhub__hub": {"middlewares": ["wait-for-hub"]},
            "root__": {"middlewares": ["wait-for-hub"]},
        },
        "middlewares": {"wait-for-hub": {"retry": {"attempts": 60, "initialInterval": "250ms"}}},
    }
}

# For this example only: anybody may log in, as anybody, and all servers are on this machine.
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
