"""Fetch a release of Traefik or etcd, verified."""
