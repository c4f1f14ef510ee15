"""The etcd store: routes in an etcd v3 cluster, for hubs with Traefik on many machines."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traitlets import Int, List, Unicode

from traefikhub.stores import (
    Change,
    Document,
    Guard,
    KeyValueStore,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    in_thread,
)
from traefikhub_backends._etcd_access import (
    check_tls_files,
    parse_endpoints,
    system_authorities,
)

if TYPE_CHECKING:
    from traefikhub_backends._etcd_client import EtcdClient

__all__ = ["EtcdStore"]

_LAST: Final = "jupyterhub/transaction"
"""The key below the prefix that holds the name of the newest transaction."""


class EtcdStore(KeyValueStore):
    """Routes and Traefik's dynamic configuration in etcd, version 3.4 or later."""

    provider_name = "etcd"

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
        Traefik watches all keys that begin with ``prefix``.""",
    ).tag(config=True)

    password = Unicode(help="The password of ``username``.").tag(config=True)

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
        # The newest transaction as of the newest answer, and that answer's revision of the store.
        self._last: str | None = None
        self._revision = 0

    def provider_config(self) -> dict[str, Document]:
        """The same endpoints, user and files for Traefik's etcd provider."""
        targets, secure = self._endpoints()
        # Without schemes: Traefik sets one before each, https if there is anything under "tls".
        endpoints: list[Document] = [*targets]
        config: dict[str, Document] = {"rootKey": self.prefix, "endpoints": endpoints}
        if self.username:
            config |= {"username": self.username, "password": self.password}
        if secure:
            tls = {"ca": self.ca_cert, "cert": self.client_cert, "key": self.client_key}
            files = {name: str(Path(file).absolute()) for name, file in tls.items() if file}
            config["tls"] = {**files} or {"insecureSkipVerify": False}
        return {"etcd": config}

    @property
    def transaction_limit(self) -> int:
        """One operation is ours: it writes the transaction's name."""
        return self.max_txn_ops - 1

    @property
    def transaction_bytes(self) -> int:
        """What is left when each operation has its frame and the prefix of its key."""
        frames = self.max_txn_ops * (32 + len(self.prefix.encode())) + 1000
        return max(self.max_request_bytes - frames, self.max_request_bytes // 2)

    async def connect(self) -> None:
        """Prove that an endpoint answers, and that this user may read below the prefix."""
        await self.disconnect()
        self._last, self._revision = None, 0
        # In a thread, for gRPC takes a tenth of a second to import.
        self._client = await in_thread(self._make_client)
        await in_thread(partial(self._range, self._client, count_only=True))

    async def disconnect(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client:
            await in_thread(client.close)

    async def read_all(self) -> dict[str, str]:
        """Everything below the prefix, by one linearizable read."""
        return await in_thread(self._read_all, self._connected())

    async def transact(self, changes: Sequence[Change], guard: Guard | None) -> bool:
        """One transaction of etcd, sent again to another endpoint if there is no answer."""
        # A write that has begun is seen through: cancelling waits for it.
        return await in_thread(self._transact, self._connected(), changes, guard)

    def _endpoints(self) -> tuple[list[str], bool]:
        files = bool(self.ca_cert or self.client_cert or self.client_key)
        return parse_endpoints(self.endpoints, tls_files=files)

    def _connected(self) -> EtcdClient:
        if self._client is None:
            raise StoreError("EtcdStore is not open")
        return self._client

    # --- in a thread -------------------------------------------------------------------------

    def _make_client(self) -> EtcdClient:
        targets, secure = self._endpoints()
        if self.password and not self.username:
            raise StoreError("c.EtcdStore.password is set, but c.EtcdStore.username is not")
        check_tls_files(self.ca_cert, self.client_cert, self.client_key)
        try:
            from traefikhub_backends._etcd_client import EtcdClient, Login, TlsFiles
        except ImportError as error:
            raise StoreError(
                f"the etcd store lacks its client library ({error}); it comes with: "
                'pip install "traefikhub[etcd]"'
            ) from error
        tls = login = None
        if secure:
            tls = TlsFiles(
                root=_content(self.ca_cert) or system_authorities(),
                certificate=_content(self.client_cert),
                key=_content(self.client_key),
            )
        if self.username:
            login = Login(self.username, self.password)
        return EtcdClient(targets, tls, login)

    def _key(self, path: str) -> bytes:
        return f"{self.prefix}/{path}".encode()

    def _range(self, client: EtcdClient, *, count_only: bool = False) -> Any:
        from pyetcd import etcdrpc

        # "0" comes after "/": all keys that begin with the prefix and a slash.
        request = etcdrpc.RangeRequest(
            key=self._key(""), range_end=f"{self.prefix}0".encode(), count_only=count_only
        )
        return client.range(request, time.monotonic() + self.timeout)

    def _read_all(self, client: EtcdClient) -> dict[str, str]:
        answer = self._range(client)
        start = len(self._key(""))
        flat: dict[str, str] = {}
        for pair in answer.kvs:
            key = pair.key
            try:
                flat[key[start:].decode()] = pair.value.decode()
            except UnicodeDecodeError as error:
                raise StoreCorrupt(f"etcd: {key!r} or its value is no UTF-8") from error
        last = flat.pop(_LAST, None)
        # A read may end after a transaction that it did not see.
        if answer.header.revision >= self._revision:
            self._last, self._revision = last, answer.header.revision
        return flat

    def _transact(self, client: EtcdClient, changes: Sequence[Change], guard: Guard | None) -> bool:
        """Make the changes once, however often they are sent.

        Puts and deletes may be repeated, but not late: a member that was frozen for a while may
        carry out the copy that it got when another has carried out its own and later changes
        upon it. The guard would let that pass, for the owner is the same. So each transaction
        writes its name, and happens only while the name of the one before it stands there. That
        is also how a copy that comes second finds that the first has had its effect.
        """
        deadline = time.monotonic() + self.timeout
        name = secrets.token_hex(8)
        while True:
            answer = client.txn(self._request(changes, guard, name), deadline)
            found = {
                pair.key: pair.value.decode(errors="replace")
                for each in answer.responses
                for pair in each.response_range.kvs
            }
            last = name if answer.succeeded else found.get(self._key(_LAST))
            expected = self._last
            self._last, self._revision = last, answer.header.revision
            if last == name:
                return True
            if guard and found.get(self._key(guard.path)) != guard.value:
                return False
            if guard:
                raise StoreUnavailable(
                    f"etcd: {self.prefix}/ was changed by transaction {last} after {expected}, "
                    "probably an earlier one of this store whose answer was lost. This one was "
                    "not made; load, and try again."
                )
            # Who takes over does so whatever was last.

    def _request(self, changes: Sequence[Change], guard: Guard | None, name: str) -> Any:
        from pyetcd import etcdrpc

        def put(path: str, value: str) -> Any:
            request = etcdrpc.PutRequest(key=self._key(path), value=value.encode())
            return etcdrpc.RequestOp(request_put=request)

        def delete(path: str) -> Any:
            request = etcdrpc.DeleteRangeRequest(key=self._key(path))
            return etcdrpc.RequestOp(request_delete_range=request)

        def get(path: str) -> Any:
            return etcdrpc.RequestOp(request_range=etcdrpc.RangeRequest(key=self._key(path)))

        def equals(path: str, value: str | None) -> Any:
            compare = etcdrpc.Compare(key=self._key(path), result=etcdrpc.Compare.EQUAL)
            if value is None:  # absent
                compare.target, compare.version = etcdrpc.Compare.VERSION, 0
            else:
                compare.target, compare.value = etcdrpc.Compare.VALUE, value.encode()
            return compare

        guards = [guard] if guard else []
        return etcdrpc.TxnRequest(
            compare=[*(equals(*each) for each in guards), equals(_LAST, self._last)],
            success=[
                *(delete(path) if value is None else put(path, value) for path, value in changes),
                put(_LAST, name),
            ],
            failure=[*(get(each.path) for each in guards), get(_LAST)],
        )


def _content(file: str) -> bytes | None:
    return Path(file).read_bytes() if file else None
