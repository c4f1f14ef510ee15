"""What attackers send, through a real Traefik: docs/attacks.md says what became of each."""
