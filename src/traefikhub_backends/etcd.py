"""The etcd store: routes in an etcd v3 cluster, for hubs with Traefik on many machines."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traitlets import Int, List, Unicode

from traefikhub.stores import (
    Change,
    Changed,
    Document,
    Guard,
    KeyValueStore,
    StoreError,
    in_thread,
)
from traefikhub_backends._etcd_access import (
    check_tls_files,
    parse_endpoints,
    system_authorities,
)
from traefikhub_backends._etcd_txn import LAST, NO_TEXT, Requests, Room, room

if TYPE_CHECKING:
    from traefikhub_backends._etcd_client import EtcdClient

__all__ = ["EtcdStore"]

_PAGE: Final = 10_000
"""Keys that are read at once. While gRPC takes an answer apart nothing else of the Hub runs: about
a millisecond with so many."""

_LIBRARY: Final = 'its client library, which comes with: pip install "traefikhub[etcd]"'

_MOST_LOST: Final = 100_000
"""Revisions that are made anew if etcd was set back: some ten seconds, and ten megabytes."""

_MOST_CHANGED: Final = 20_000
"""If more keys were changed, hearing of them is no cheaper than reading all."""


class EtcdStore(KeyValueStore):
    """Routes and Traefik's dynamic configuration in etcd, version 3.4 or later."""

    provider_name = "etcd"
    server = "etcd 3.4 or later"

    endpoints = List(
        Unicode(),
        default_value=["127.0.0.1:2379"],
        help="""The members of the etcd cluster, each as ``host:port`` or as a URL without path.

        Name several: the first that answers is used, so that one may be down. ``https://`` means
        TLS, and so do ``ca_cert`` and ``client_cert``. Traefik is given the same addresses.
        """,
    ).tag(config=True)

    username = Unicode(
        help="""The user of etcd's authentication, for the Hub and for Traefik; empty if it is
        disabled, or if etcd takes the name in ``client_cert``. It needs a role with
        ``etcdctl role grant-permission ROLE readwrite PREFIX --prefix``: without a slash, for
        Traefik watches all keys that begin with ``prefix``. With ``traefik_username``,
        ``readwrite PREFIX/ --prefix`` is enough.""",
    ).tag(config=True)

    password = Unicode(help="The password of ``username``.").tag(config=True)

    traefik_username = Unicode(
        help="""Another user for Traefik, who may only read; by default ``username``. It needs a
        role with ``etcdctl role grant-permission ROLE read PREFIX --prefix``, without a slash. The
        start proves that it has.""",
    ).tag(config=True)

    traefik_password = Unicode(help="The password of ``traefik_username``.").tag(config=True)

    ca_cert = Unicode(
        help="""A PEM file with the certificate authorities that vouch for etcd. By default those
        that this machine trusts.""",
    ).tag(config=True)

    client_cert = Unicode(
        help="A PEM file with the certificate that etcd asks of its clients, if it does.",
    ).tag(config=True)

    client_key = Unicode(help="The PEM file with the key of ``client_cert``.").tag(config=True)

    max_txn_ops = Int(
        128,
        min=8,
        help="How many operations etcd takes in a transaction: its ``--max-txn-ops``.",
    ).tag(config=True)

    max_request_bytes = Int(
        1_572_864,
        min=10_000,
        help="How large a request etcd takes: its ``--max-request-bytes``.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._client: EtcdClient | None = None
        self._last: str | None = None  # the newest transaction as of the newest answer
        self._told = 0  # the revision of etcd up to which all changes were told
        self._newest = 0  # the highest revision of etcd that was seen

    @classmethod
    def missing(cls) -> str:
        """The client library, if it isn't installed."""
        # It needs protobuf, and doesn't say so. Where the parent of a module is missing, find_spec
        # raises instead.
        found = find_spec("pyetcd") and find_spec("google") and find_spec("google.protobuf")
        return "" if found else _LIBRARY

    @property
    def unguarded(self) -> str:
        """Without a user or a certificate etcd can only have let everybody in."""
        return "" if self.username or self.client_cert else "c.EtcdStore.username is not set"

    def provider_config(self) -> dict[str, Document]:
        """The same endpoints and files for Traefik's etcd provider, and its user or the same."""
        targets, secure = self._endpoints()
        # Without schemes: Traefik sets one before each, https if there is anything under "tls".
        endpoints: list[Document] = [*targets]
        config: dict[str, Document] = {"rootKey": self.prefix, "endpoints": endpoints}
        if login := self._traefik_login:
            config |= {"username": login[0], "password": login[1]}
        if secure:
            tls = {"ca": self.ca_cert, "cert": self.client_cert, "key": self.client_key}
            files = {name: str(Path(file).absolute()) for name, file in tls.items() if file}
            config["tls"] = {**files} or {"insecureSkipVerify": False}
        return {"etcd": config}

    @property
    def transaction_limit(self) -> int:
        """What fits into transactions within a transaction, beside the put of its name."""
        return self._room().changes

    @property
    def transaction_bytes(self) -> int:
        """What is left when each operation has its frame and the prefix of its key."""
        return self._room().size

    async def connect(self, *, read_only: bool) -> None:
        """Prove that an endpoint answers, and that this user may read below the prefix; and
        Traefik's user, if it has one of its own and this is not for a look only."""
        await self.disconnect()
        self._last, self._told, self._newest = None, 0, 0
        # In a thread, for gRPC takes a tenth of a second to import.
        self._client = await in_thread(self._make_client)
        await in_thread(self._prove, self._client)
        if self.traefik_username and not read_only:
            await in_thread(self._prove_for_traefik)

    async def disconnect(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client:
            await in_thread(client.close)

    async def read_all(self) -> dict[str, str]:
        """Everything below the prefix, in pages of one revision."""
        return await in_thread(self._read_all, self._connected())

    async def read_changed(self) -> Changed | None:
        """By the revision of etcd in which each key was last put."""
        return await in_thread(self._read_changed, self._connected())

    async def read_value(self, path: str) -> str | None:
        """By one read."""
        return await in_thread(self._read_value, self._connected(), path)

    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """One transaction of etcd, sent again to another endpoint if there is no answer."""
        # A write that has begun is seen through: cancelling waits for it.
        return await in_thread(self._transact, self._connected(), changes, guard)

    async def erase(self) -> None:
        """Also the name of the newest transaction, which each one writes."""
        await super().erase()
        await self.connect(read_only=False)
        try:
            await self.read_all()
            await in_thread(self._erase_name, self._connected())
        finally:
            await self.disconnect()

    def _room(self) -> Room:
        return room(self.max_txn_ops, self.max_request_bytes, len(self.prefix.encode()))

    def _requests(self) -> Requests:
        return Requests(self.prefix, self.max_txn_ops)

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout

    def _endpoints(self) -> tuple[list[str], bool]:
        files = bool(self.ca_cert or self.client_cert or self.client_key)
        return parse_endpoints(self.endpoints, tls_files=files)

    @property
    def _traefik_login(self) -> tuple[str, str] | None:
        if self.traefik_username:
            return self.traefik_username, self.traefik_password
        return (self.username, self.password) if self.username else None

    def _connected(self) -> EtcdClient:
        if self._client is None:
            raise StoreError("EtcdStore is not open")
        return self._client

    # --- in a thread -------------------------------------------------------------------------

    def _make_client(self, *, for_traefik: bool = False) -> EtcdClient:
        """The Hub's, or one that is to etcd as Traefik will be."""
        targets, secure = self._endpoints()
        for user, password in (
            ("username", "password"),
            ("traefik_username", "traefik_password"),
        ):
            if getattr(self, password) and not getattr(self, user):
                raise StoreError(f"c.EtcdStore.{password} is set, but c.EtcdStore.{user} is not")
        check_tls_files(self.ca_cert, self.client_cert, self.client_key)
        try:
            from traefikhub_backends._etcd_client import EtcdClient, Login, TlsFiles
        except ImportError as error:
            raise StoreError(f"the etcd store lacks {_LIBRARY} ({error})") from error
        tls = login = None
        if secure:
            tls = TlsFiles(
                root=_content(self.ca_cert) or system_authorities(),
                certificate=_content(self.client_cert),
                key=_content(self.client_key),
            )
        if for_traefik:
            options = "c.EtcdStore.traefik_username, .traefik_password"
            login = Login(self.traefik_username, self.traefik_password, options)
            return EtcdClient(targets, tls, login, f"read {self.prefix} --prefix")
        if self.username:
            login = Login(self.username, self.password)
        # Where Traefik is the same user, its wish for all that begins with the prefix counts.
        slash = "/" if self.traefik_username else ""
        return EtcdClient(targets, tls, login, f"readwrite {self.prefix}{slash} --prefix")

    def _prove_for_traefik(self) -> None:
        """Read as Traefik will: it says in its own log only that it may not."""
        client = self._make_client(for_traefik=True)
        try:
            client.range(self._requests().read_as_traefik(), self._deadline())
        finally:
            client.close()

    def _prove(self, client: EtcdClient) -> None:
        client.range(self._requests().read(count_only=True), self._deadline())

    def _read_value(self, client: EtcdClient, path: str) -> str | None:
        answer = client.range(self._requests().read_one(path), self._deadline())
        return self._decoded(answer.kvs).get(path)

    def _read_all(self, client: EtcdClient) -> dict[str, str]:
        from traefikhub_backends._etcd_client import RevisionGoneError

        deadline = self._deadline()
        while True:
            try:
                flat, revision = self._read_pages(client, deadline)
                break
            except RevisionGoneError:
                continue  # etcd was compacted between two pages: from the start
        self._last, self._told = flat.pop(LAST, None), revision
        self._newest = max(self._newest, revision)
        return flat

    def _read_pages(self, client: EtcdClient, deadline: float) -> tuple[dict[str, str], int]:
        """All keys as of the revision that is the newest when the first page is read."""
        requests = self._requests()
        flat: dict[str, str] = {}
        answer = client.range(requests.read(limit=_PAGE), deadline)
        revision: int = answer.header.revision
        while True:
            flat |= self._decoded(answer.kvs)
            if not answer.more:
                return flat, revision
            after = answer.kvs[-1].key + b"\0"
            request = requests.read(key=after, limit=_PAGE, revision=revision)
            answer = client.range(request, deadline)

    def _read_changed(self, client: EtcdClient) -> Changed | None:
        """Ask only if the newest transaction is the one that we know: nobody has taken over, and
        etcd was not set back to an earlier state. And so its key is there, or is not, as we know.
        """
        request = self._requests().read_if(
            self._last, min_mod_revision=self._told + 1, limit=_MOST_CHANGED
        )
        answer = client.txn(request, self._deadline())
        revision: int = answer.header.revision
        if not answer.succeeded or revision < self._told:
            return None
        found = answer.responses[0].response_range
        if found.more:
            return None
        flat = self._decoded(found.kvs)
        flat.pop(LAST, None)
        self._told = revision
        self._newest = max(self._newest, revision)
        # etcd counts all keys in the range, also those that min_mod_revision leaves out.
        return Changed(flat, found.count - (self._last is not None))

    def _erase_name(self, client: EtcdClient) -> None:
        if self._last is None:
            return
        request = self._requests().write([], None, self._last, None)
        if not client.txn(request, self._deadline()).succeeded:
            raise StoreError(f"etcd: somebody else writes below {self.prefix}/")

    def _decoded(self, pairs: Iterable[Any]) -> dict[str, str]:
        start = len(self._requests().key(""))
        flat: dict[str, str] = {}
        for pair in pairs:
            # Somebody else's may be no text. It must not keep ours from being read.
            key, value = pair.key[start:], pair.value
            flat[key.decode(errors=NO_TEXT)] = value.decode(errors=NO_TEXT)
        return flat

    def _transact(self, client: EtcdClient, changes: Sequence[Change], guard: Guard | None) -> bool:
        """Make the changes once, however often they are sent.

        Puts and deletes may be repeated, but not late: a member that was frozen for a while may
        carry out the copy that it got when another has carried out its own and later changes
        upon it. The guard would let that pass, for the owner is the same. So each transaction
        writes its name, and happens only while the name of the one before it stands there. That
        is also how a copy that comes second finds that the first has had its effect.
        """
        requests, deadline = self._requests(), self._deadline()
        name = secrets.token_hex(8)
        while True:
            answer = client.txn(requests.write(changes, guard, self._last, name), deadline)
            found = {
                pair.key: pair.value.decode(errors="replace")
                for each in answer.responses
                for pair in each.response_range.kvs
            }
            last = name if answer.succeeded else found.get(requests.key(LAST))
            expected = self._last
            self._last = last
            if last == name:
                if guard:
                    self._catch_up(client, guard, name, answer.header.revision)
                return True
            if guard and found.get(requests.key(guard.path)) != guard.value:
                return False
            if guard:
                # Probably an earlier one of this store whose answer was lost, or somebody has
                # deleted that key: what is there must be read anew.
                self.log.debug("The last transaction is %s, not %s", last, expected)
                return False
            # Who takes over does so whatever was last.

    def _catch_up(self, client: EtcdClient, guard: Guard, last: str, revision: int) -> None:
        """See to it that Traefik hears of a transaction, which was made in this revision.

        It waits for revisions above the last one that it has heard of. If etcd was set back, to an
        older backup, that is above those that it makes now, and Traefik would serve what it has
        until as many changes were made as were lost. So they are made, by writing the name of the
        last transaction anew. Where there is no time for all of them, the next transaction goes on.
        """
        lost = self._newest + 1 - revision
        if lost <= 1:
            self._newest = revision
            return
        if lost > _MOST_LOST:
            self._newest = revision
            self.log.error(
                "etcd was set back by %d revisions. Traefik waits for as many changes, anywhere in "
                "etcd, before it looks at this one: restart Traefik. What spares one that is "
                "etcdutl snapshot restore --bump-revision … --mark-compacted",
                lost - 1,
            )
            return
        self.log.warning(
            "etcd was set back by %d revisions, which Traefik has heard of; makes as many", lost - 1
        )
        request = self._requests().write([], guard, last, last)
        newest = client.repeat(request, lost, self._deadline())
        if newest > self._newest:
            self._newest = newest


def _content(file: str) -> bytes | None:
    return Path(file).read_bytes() if file else None
