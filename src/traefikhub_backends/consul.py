"""The consul store: routes in consul's key-value store, for hubs with Traefik on many machines.

Consul compares no values in a transaction, only the index of a key's last change. So each guarded
transaction begins with a ``cas`` of the guard's key: it must still have the index last seen, gets
the same value again, and a new random mark in the number (``Flags``) that consul keeps beside
every value. Whatever happened in between shows:

- Another owner's token has another index, however the two writers interleave.
- A transaction whose answer was lost is sent again, and finds its own mark if it had happened.
- One that an agent kept to itself while it was frozen expects an index that is gone.

What doesn't fit into one transaction goes ahead of the last, in many at once. These only check the
index (``check-index``), so that all of them may happen in any order, and any of them twice. The
last ends that, as above; until it is done, or another in its place, some may be on their way.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from traitlets import Int, List, Unicode, Union

from traefikhub.stores import (
    Change,
    Changed,
    Document,
    Guard,
    KeyValueStore,
    StoreError,
    StoreUnavailable,
    in_thread,
)
from traefikhub_backends._consul_agent import Agent, Needs, check_tls_files, system_authorities

__all__ = ["ConsulStore"]

_T = TypeVar("_T")

_TRANSACTION_LIMIT: Final = 64
"""Operations in one transaction. Part of consul; no option changes it."""

_LIBRARY: Final = 'its client library, which comes with: pip install "traefikhub[consul]"'

_PROBE: Final = "jupyterhub/owner"
"""A key that may be absent. Asked for by name, consul tells a token without rights so; from the
answer to a listing it leaves out what the token may not read, without a word."""


class _Version(NamedTuple):
    """What a guard's key was when it was last seen."""

    guard: Guard
    revision: int  # of the change, unique among all changes in consul
    mark: int


class ConsulStore(KeyValueStore):
    """Routes and Traefik's dynamic configuration in consul, version 1.8 or later."""

    provider_name = "consul"
    server = "consul 1.8 or later"

    url = Union(
        [Unicode(), List(Unicode())],
        default_value="http://127.0.0.1:8500",
        help="""The consul agent, as ``http://host:port`` or ``https://host:port``.

        One only, for Traefik's consul provider takes no more: as consul is meant to be used, an
        agent runs on the same machine, and knows the servers and which of them are up.
        """,
    ).tag(config=True)

    token = Unicode(
        help="""The ACL token, for the Hub and for Traefik; empty if consul's ACLs are off.

        Needs ``write`` on the ``key_prefix`` that is ``prefix`` followed by a slash. The
        environment variable ``CONSUL_HTTP_TOKEN`` is not looked at.
        """,
    ).tag(config=True)

    traefik_token = Unicode(
        help="""Another ACL token for Traefik, which may only read; by default ``token``.

        Needs ``read`` on the same ``key_prefix``; if the servers have
        ``acl.enable_key_list_policy``, ``list`` on the ``key_prefix`` without the slash. The start
        proves that it has.
        """,
    ).tag(config=True)

    ca_cert = Unicode(
        help="""A PEM file with the certificate authorities that vouch for the agent, for an
        ``https`` URL. By default those that this machine trusts.""",
    ).tag(config=True)

    client_cert = Unicode(
        help="A PEM file with the certificate that the agent asks of its clients, if it does.",
    ).tag(config=True)

    client_key = Unicode(help="The PEM file with the key of ``client_cert``.").tag(config=True)

    datacenter = Unicode(
        help="""The datacenter that keeps the routes, if not the agent's own.

        Traefik has no such option: give it, then, an agent of that datacenter.
        """,
    ).tag(config=True)

    max_request_bytes = Int(
        512 * 1024,
        min=64 * 1024,
        help="""How many bytes consul takes in one request: its ``limits.txn_max_req_len``, or
        ``limits.kv_max_value_size`` if that is more. What a batch has above that goes into
        further transactions.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._agent: Agent | None = None
        self._lock = threading.Lock()  # of those below, and of the transactions that change them
        self._version: _Version | None = None
        # Set while a transaction that nobody waits for any more may still happen.
        self._unsettled: Guard | None = None
        # The index of the last change, or of an earlier one, when all was last read; empty if that
        # tells nothing, see ``Agent.index_of``.
        self._seen = ""

    @classmethod
    def missing(cls) -> str:
        """The client library, if it isn't installed."""
        return "" if find_spec("consul") else _LIBRARY

    @property
    def unguarded(self) -> str:
        """Without a token or a certificate consul can only have let everybody in."""
        return "" if self.token or self.client_cert else "c.ConsulStore.token is not set"

    def provider_config(self) -> dict[str, Document]:
        """The same agent and files for Traefik's consul provider, and its token or the same."""
        scheme, host, port = self._address()
        found: dict[str, Document] = {"rootKey": self.prefix, "endpoints": [f"{host}:{port}"]}
        if token := self.traefik_token or self.token:
            found["token"] = token
        if scheme == "https":
            names = {"ca": self.ca_cert, "cert": self.client_cert, "key": self.client_key}
            # Traefik speaks https if there is anything in this table, and only then.
            found["tls"] = {
                "insecureSkipVerify": False,
                **{name: str(Path(file).absolute()) for name, file in names.items() if file},
            }
        return {"consul": found}

    @property
    def transaction_limit(self) -> int:
        """One operation is the guard's."""
        return _TRANSACTION_LIMIT - 1

    @property
    def transaction_bytes(self) -> int:
        """Three quarters, for base64 turns three bytes into four, of what the names around keys
        and values leave."""
        around = _TRANSACTION_LIMIT * (len(self._key("").encode()) + 64)
        return (self.max_request_bytes - around) * 3 // 4

    @property
    def transacts_at_once(self) -> bool:
        """To wait for a stage costs as much as several transactions more."""
        return True

    async def connect(self, *, read_only: bool) -> None:
        """Prove that the agent answers, and that the token may read below the prefix; and
        Traefik's, if it has one of its own and this is not for a look only."""
        await self.disconnect()
        self._version = self._unsettled = None
        self._agent = await in_thread(self._make_agent)
        await self._in_thread(partial(Agent.get, key=self._key(_PROBE)))
        if self.traefik_token and not read_only:
            await in_thread(self._prove_for_traefik)

    async def disconnect(self) -> None:
        """Close the connections."""
        agent, self._agent = self._agent, None
        if agent:
            agent.close()

    async def read_all(self) -> dict[str, str]:
        """Everything below the prefix, by one consistent read."""
        return await self._in_thread(self._read_all)

    async def read_changed(self) -> Changed | None:
        """Whether anything has changed; after changes of our own, too, that can't be told."""
        return await self._in_thread(self._read_changed)

    async def read_value(self, path: str) -> str | None:
        """By one consistent read."""
        return await self._in_thread(partial(self._read_value, path=path))

    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """One transaction of consul, sent again if there is no answer."""
        if guard is not None:
            return await self.transact_all([[changes]], guard)
        await self._in_thread(partial(self._overwrite, changes=changes))
        return True

    async def transact_all(
        self, stages: Sequence[Sequence[Sequence[Change]]], guard: Guard
    ) -> bool:
        """The transactions of a stage at once, over several connections."""
        return await self._in_thread(partial(self._transact, stages=stages, guard=guard))

    async def prove_writable(self) -> None:
        """By a transaction that asks for a version which no key has."""
        await self.connect(read_only=False)
        try:
            await self._in_thread(self._write_in_vain)
        finally:
            await self.disconnect()

    async def _in_thread(self, work: Callable[[Agent], _T]) -> _T:
        if self._agent is None:
            raise StoreError("ConsulStore is not open")
        # A write that has begun is seen through: cancelling waits for it.
        return await in_thread(work, self._agent)

    def _address(self) -> tuple[str, str, int]:
        """Scheme, host and port.

        Raises:
            StoreError: the options make no sense together.
        """
        given = self.url.split(",") if isinstance(self.url, str) else self.url
        urls = [text.strip() for text in given if text.strip()]
        if len(urls) != 1:
            raise StoreError(
                f"c.ConsulStore.url holds {len(urls)} addresses, but Traefik's consul provider "
                "takes exactly one endpoint. Give that of the consul agent on this machine: it "
                "finds the servers of the cluster and goes around one that is down."
            )
        try:
            parts = urlsplit(urls[0])
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port = "", None
        if not host or parts.scheme not in ("http", "https") or urls[0].rstrip("/").count("/") > 2:
            raise StoreError("c.ConsulStore.url must be http://host:port or https://host:port")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise StoreError(
                "c.ConsulStore.url must hold no user, password or query, which Traefik's consul "
                "provider can't be given; for consul's ACLs there is c.ConsulStore.token"
            )
        if parts.scheme == "http" and (self.ca_cert or self.client_cert or self.client_key):
            raise StoreError(
                "c.ConsulStore.ca_cert, .client_cert and .client_key need a c.ConsulStore.url "
                "that begins with https://"
            )
        if bool(self.client_cert) != bool(self.client_key):
            raise StoreError(
                "c.ConsulStore.client_cert and c.ConsulStore.client_key need each other"
            )
        default_port = 443 if parts.scheme == "https" else 80
        return parts.scheme, f"[{host}]" if ":" in host else host, port or default_port

    # --- in a thread -------------------------------------------------------------------------

    def _make_agent(self, *, for_traefik: bool = False) -> Agent:
        """The Hub's, or one that is to consul as Traefik will be."""
        scheme, host, port = self._address()
        token = self.traefik_token if for_traefik else self.token
        option = "c.ConsulStore.traefik_token" if for_traefik else "c.ConsulStore.token"
        if not re.fullmatch(r"[!-~]*", token):
            # Else an error of the HTTP library would, and show it.
            raise StoreError(
                f"{option} holds a space, a line break or another character that no "
                "token has; was it read from a file without .strip()?"
            )
        check_tls_files(self.ca_cert, self.client_cert, self.client_key)
        try:
            import consul
        except ImportError as error:
            raise StoreError(f"the consul store lacks {_LIBRARY} ({error})") from error
        client = consul.Consul(
            host=host,
            port=port,
            scheme=scheme,
            verify=self.ca_cert or system_authorities(),
            cert=(self.client_cert, self.client_key) if self.client_cert else None,
        )
        where = f"consul at {scheme}://{host}:{port}"
        needs = Needs(option, self._key(""), "read" if for_traefik else "write")
        # Traefik's provider has no datacenter but the agent's.
        datacenter = "" if for_traefik else self.datacenter
        return Agent(client.http, where, token, datacenter, self.timeout, needs)

    def _prove_for_traefik(self) -> None:
        """Read as Traefik will: without the right, it would take the prefix for empty."""
        agent = self._make_agent(for_traefik=True)
        try:
            agent.get(self._key(_PROBE))
            # Traefik lists what begins with the prefix, without a slash. Most servers take "read"
            # for that, and leave out the rest; not with acl.enable_key_list_policy.
            agent.needs = Needs(agent.needs.option, self.prefix, "list")
            agent.index_of(self.prefix)
        finally:
            agent.close()

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}"

    def _read_all(self, agent: Agent) -> dict[str, str]:
        with self._lock:
            self._settle(agent)
            self._seen, index = "", agent.index_of(self._key(""))
            start = len(self._key(""))
            # What is read goes with the version that the guard's key has there: consul may have
            # been set back, and what is written next must be able to say so.
            guard, self._version = self._version and self._version.guard, None
            flat: dict[str, str] = {}
            for entry in agent.get(self._key(""), recurse=True):
                # The prefix itself may be a key: consul's web interface makes such "folders".
                if path := entry["Key"][start:]:
                    flat[path] = _text(entry)
                    if guard and Guard(path, flat[path]) == guard:
                        self._version = _Version(guard, entry["ModifyIndex"], entry["Flags"])
            if not flat:
                agent.get(self._key(_PROBE))
            self._seen = index if flat else ""
            return flat

    def _read_changed(self, agent: Agent) -> Changed | None:
        with self._lock:
            if not self._seen or self._unsettled or agent.index_of(self._key("")) != self._seen:
                return None
            return Changed({}, None)

    def _read_value(self, agent: Agent, *, path: str) -> str | None:
        return next(map(_text, agent.get(self._key(path))), None)

    def _operations(self, changes: Sequence[Change]) -> list[Any]:
        return [_operation(self._key(path), value) for path, value in changes]

    def _overwrite(self, agent: Agent, *, changes: Sequence[Change]) -> None:
        """Make the changes whoever owns the prefix, but not late: a request that is carried out
        when its sender has given up, and another has taken over since, would fence that one. So the
        first key that is put must be then as it is now."""
        with self._lock:
            self._version = self._unsettled = None
            path, value = next((each for each in changes if each.value is not None), ("", None))
            if value is None:
                agent.transact(self._operations(changes))
                return
            rest = self._operations([each for each in changes if each.path != path])
            tried, deadline = False, time.monotonic() + self.timeout
            while not (tried and self._look(agent, Guard(path, value))):
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"{agent.where}: others change the key {self._key(path)} all the time"
                    )
                tried = True
                first = _operation(self._key(path), value, "cas")
                found = [entry["ModifyIndex"] for entry in agent.get(self._key(path))]
                first["KV"] |= {"Index": found[0] if found else 0}
                if agent.transact([first, *rest], guarded=True) is not None:
                    return

    def _transact(
        self, agent: Agent, *, stages: Sequence[Sequence[Sequence[Change]]], guard: Guard
    ) -> bool:
        earlier = [[self._operations(changes) for changes in stage] for stage in stages]
        last = earlier[-1].pop()
        earlier = [stage for stage in earlier if stage]
        with self._lock:
            self._settle(agent)
            version = self._version
            if version is None or version.guard != guard:
                version = self._look(agent, guard)
            if version is None:
                return False
            if self._prepare(agent, version, earlier) and self._step(agent, version, last):
                return True
            if self._version is None:
                return False
        raise StoreUnavailable(
            f"{agent.where}: the key {self._key(guard.path)} was changed by somebody who did not "
            f"take over. {'Not all' if earlier else 'Nothing'} was written; load, and try again."
        )

    def _write_in_vain(self, agent: Agent) -> None:
        key = self._key(_PROBE)
        never = {"KV": {"Verb": "check-index", "Key": key, "Index": 1}}
        agent.transact([never, _operation(key, "", "set")], guarded=True)

    def _prepare(self, agent: Agent, version: _Version, stages: list[list[list[Any]]]) -> bool:
        """Make all these if the guard's key still has this version; it keeps that."""
        if not stages:
            return True
        check = {"Verb": "check-index", "Key": self._key(version.guard.path)}
        first = {"KV": check | {"Index": version.revision}}
        guarded = [[[first, *operations] for operations in stage] for stage in stages]
        self._version, self._unsettled = None, version.guard
        if agent.transact_stages(guarded):
            return True  # not settled before the version is another
        self._version, self._unsettled = self._look(agent, version.guard), None
        return False

    def _step(self, agent: Agent, version: _Version, operations: list[Any]) -> bool:
        """Make the operations if the guard's key still has this version, and give it the next."""
        guard, mark = version.guard, secrets.randbits(53)  # exact in any reading of JSON
        first = _operation(self._key(guard.path), guard.value, "cas")
        first["KV"] |= {"Index": version.revision, "Flags": mark}
        self._version, self._unsettled = None, guard
        entries = agent.transact([first, *operations], guarded=True)
        if entries is None:
            # It has another version, perhaps by the first of several attempts to do this.
            self._version = self._look(agent, guard)
        else:
            self._version = _Version(guard, entries[0]["KV"]["ModifyIndex"], mark)
        self._unsettled = None
        return self._version is not None and self._version.mark == mark

    def _settle(self, agent: Agent) -> None:
        """See to it that a transaction without an answer has happened or never will.

        Any that is still on its way expects the version of the guard's key that it had before.
        """
        if guard := self._unsettled:
            while (version := self._look(agent, guard)) and not self._step(agent, version, []):
                pass
            self._unsettled = None

    def _look(self, agent: Agent, guard: Guard) -> _Version | None:
        """The guard's key as it is; None if it hasn't the guard's value."""
        for entry in agent.get(self._key(guard.path)):
            if base64.b64decode(entry["Value"] or "") == guard.value.encode():
                return _Version(guard, entry["ModifyIndex"], entry["Flags"])
        return None


def _text(entry: dict[str, Any]) -> str:
    """A value. Somebody else's may be no text: it must not keep ours from being read."""
    return base64.b64decode(entry["Value"] or "").decode(errors="surrogateescape")


def _operation(key: str, value: str | None, verb: str = "set") -> dict[str, Any]:
    if value is None:
        return {"KV": {"Verb": "delete", "Key": key}}
    encoded = base64.b64encode(value.encode()).decode()
    return {"KV": {"Verb": verb, "Key": key, "Value": encoded}}
