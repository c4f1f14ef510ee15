"""/opt/tljh/config/jupyterhub_config.d/traefikhub_config.py, for The Littlest JupyterHub 2.

TLJH goes on running Traefik, as traefik.service, with its own options for ports and https. It has
set c.TraefikProxy.should_start, traefik_entrypoint, traefik_api_username and
traefik_api_password before this file is read.
"""

import os

c = get_config()  # noqa: F821

state = os.path.join(os.environ.get("TLJH_INSTALL_PREFIX", "/opt/tljh"), "state")

c.JupyterHub.proxy_class = "traefikhub"
c.TraefikProxy.run_dir = os.path.join(state, "traefikhub")
c.TraefikProxy.store = "toml-file"
# In the directory that TLJH's Traefik reads. Not rules.toml, which TLJH empties whenever it
# configures Traefik anew.
c.TomlFileStore.path = os.path.join(state, "rules", "traefikhub.toml")

# It is for the earlier proxy, and would be told of at each start.
c.pop("TraefikFileProviderProxy", None)
