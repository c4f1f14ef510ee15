"""/etc/jupyterhub/jupyterhub_config.py for docs/systemd/jupyterhub.service: one server, on which
the Hub starts Traefik."""

c = get_config()  # noqa: F821

c.JupyterHub.proxy_class = "traefikhub"
c.TraefikProxy.acme_domains = ["hub.example.org"]
c.TraefikProxy.run_dir = "/var/lib/jupyterhub/traefik"
c.TraefikProxy.traefik_command = "/opt/jupyterhub/bin/traefik"

# "systemctl restart jupyterhub" drops nobody: Traefik and users' servers go on without the Hub.
c.JupyterHub.cleanup_proxy = False
c.JupyterHub.cleanup_servers = False

# Your own spawner and authenticator. The unit gives no right to start processes of other users:
# docs/least-privilege.md says what such spawners need.
# c.JupyterHub.spawner_class = "docker"
# c.JupyterHub.authenticator_class = "github"
