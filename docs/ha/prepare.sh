#!/bin/sh
# Once, and after a change of the Hub's configuration that is for Traefik: the static configuration of
# each replica.
set -e
REPLICA=127.0.0.2 traefikhub static-config --show-secrets --output traefik-1.toml
REPLICA=127.0.0.3 traefikhub static-config --show-secrets --output traefik-2.toml
