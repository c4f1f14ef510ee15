"""How much the load is, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run. Times are in seconds; those that vary are means.

    store, users, minutes, seed: as asked for. The minutes begin with the logins.
    running: how long a user's server runs.
    away: from a user's logout to the next login.
    login_burst: the users who are there from the beginning log in within this.
    logout_burst: all log out within this at the end.
    moves, crashes: the share of servers that move to another address, or die, meanwhile.
    requests: of users, each second.
    sockets, downloads: how many are open at a time.
    socket_seconds: how long a socket stays open.
    check_every, list_every: JupyterHub's check of routes, and its look at their last activity. A
        real Hub does both every five minutes.
    sample_every: between two looks at memory and descriptors.
    """

    store: str
    users: int
    minutes: float
    seed: int
    running: float = 300.0
    away: float = 200.0
    login_burst: float = 20.0
    logout_burst: float = 20.0
    moves: float = 0.1
    crashes: float = 0.03
    requests: float = 100.0
    sockets: int = 150
    downloads: int = 10
    socket_seconds: float = 120.0
    check_every: float = 20.0
    list_every: float = 10.0
    sample_every: float = 5.0

    @property
    def present(self) -> float:
        """The share of the users whose server runs."""
        return self.running / (self.running + self.away)

    @property
    def changes(self) -> float:
        """Changes of routes each second, once the first logins are over."""
        return self.users / (self.running + self.away) * (2 + self.moves)
