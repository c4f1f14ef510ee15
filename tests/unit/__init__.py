"""Fast tests of the pure parts and of the store layer: no Traefik, no JupyterHub."""
