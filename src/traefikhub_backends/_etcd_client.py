"""A small etcd client: several endpoints, one deadline for each operation, tokens that expire.

It stands on the messages and stubs that pyetcd generated, not on pyetcd's client class. That one
asks for a token once, in its constructor, and never again; sends a call that failed to no other
endpoint, bars an endpoint that failed for five minutes, and asks for no leader.

Every method blocks. Importing this module needs pyetcd, so it is imported on use.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

# Spawners fork, and their children only run another program. gRPC would halt its threads for each
# fork, and write a line to stderr if it can't.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import grpc
from pyetcd import etcdrpc

from traefikhub.stores import RecordRefused, StoreError, StoreUnavailable

__all__ = ["EtcdClient", "Login", "RevisionGoneError", "TlsFiles"]

_PAUSE: Final = 0.1
"""Seconds between rounds over the endpoints: an election takes about one second."""

_AT_ONCE: Final = 100
"""Transactions without an answer: etcd writes several of them to its disk together."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),  # 4 MiB otherwise; ten thousand routes are more
    # A server that is back is found soon; gRPC would wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A machine that is gone closes no connection. etcd takes no more than a ping in 5 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A proxy to the internet is no way to etcd, and gRPC would use it even for loopback.
    ("grpc.enable_http_proxy", 0),
    # Two stores of one process share no connection, and so neither's trouble.
    ("grpc.use_local_subchannel_pool", 1),
)

_SIZE: Final = "c.EtcdStore.max_request_bytes"

_TOKEN_REFUSED: Final = (
    "invalid auth token",  # expired, or the server was started anew
    "revision of auth store is old",  # users or roles were changed since
    "user name is empty",  # authentication was enabled since
)


class RevisionGoneError(StoreUnavailable):
    """etcd no longer has the revision that was asked for: it was compacted, or set back."""


@dataclass(frozen=True, slots=True)
class Login:
    """Whom the client is.

    options: which say so, for messages.
    """

    username: str
    password: str = field(repr=False)
    options: str = "c.EtcdStore.username, .password"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM texts. Without ``root``, gRPC's own certificate authorities count."""

    root: bytes | None
    certificate: bytes | None
    key: bytes | None = field(repr=False)


class _Member:
    """One endpoint and its connection. gRPC renews one that breaks by itself."""

    def __init__(self, target: str, tls: TlsFiles | None) -> None:
        self.target = target
        self._tls = tls
        self.connect()

    def connect(self) -> None:
        """Begin with a new connection, when there is something to ask."""
        if tls := self._tls:
            credentials = grpc.ssl_channel_credentials(tls.root, tls.key, tls.certificate)
            self.channel = grpc.secure_channel(self.target, credentials, options=_CHANNEL_OPTIONS)
        else:
            self.channel = grpc.insecure_channel(self.target, options=_CHANNEL_OPTIONS)
        kv = etcdrpc.KVStub(self.channel)
        self.range: Callable[..., Any] = kv.Range
        self.txn: Any = kv.Txn
        self.authenticate: Callable[..., Any] = etcdrpc.AuthStub(self.channel).Authenticate


class EtcdClient:
    """Asks one endpoint after another until one answers or the deadline is over.

    Args:
        targets: ``host:port`` each.
        tls: None for plain connections.
        login: None if etcd needs none, or takes the client certificate's name.
        permission: what it has to be allowed, as ``etcdctl role grant-permission ROLE`` takes it.

    Calls may be made by several threads. A call that fails may have had its effect.
    """

    def __init__(
        self,
        targets: Sequence[str],
        tls: TlsFiles | None,
        login: Login | None,
        permission: str = "readwrite PREFIX --prefix",
    ) -> None:
        self._permission = permission
        self._members = [_Member(target, tls) for target in targets]  # the most trusted first
        self._where = ", ".join(targets)
        self._settings = ".endpoints, .timeout" + (", .ca_cert, .client_cert" if tls else "")
        self._login = login
        self._token: str | None = None  # None: to be asked for; "": etcd wants none
        self._closed = False
        self._connecting = threading.Lock()  # none is made anew after ``close``

    def close(self) -> None:
        """Close all connections; calls that are on their way fail. Idempotent."""
        with self._connecting:
            self._closed = True
            for member in self._members:
                member.channel.close()

    def _reconnect(self, member: _Member) -> None:
        """Give up a connection on which no answer came. A firewall may have forgotten it: gRPC
        would go on using it for a quarter of a minute."""
        with self._connecting:
            if not self._closed:
                member.channel.close()
                member.connect()

    def range(self, request: Any, deadline: float) -> Any:
        """Answer to a ``RangeRequest``. The deadline is one of ``time.monotonic``.

        Raises:
            StoreUnavailable: no endpoint answered in time, or etcd refuses this user.
            RevisionGoneError: etcd does not have the request's ``revision``.
            StoreError: etcd refuses the request.
        """
        return self._call(lambda member: member.range, request, deadline)

    def txn(self, request: Any, deadline: float) -> Any:
        """Answer to a ``TxnRequest``, which may be sent more than once.

        Raises:
            RecordRefused: it is larger than etcd takes.
            StoreUnavailable, StoreError: as ``range``.
        """
        return self._call(lambda member: member.txn, request, deadline)

    def repeat(self, request: Any, times: int, deadline: float) -> int:
        """Make a transaction many times, while that goes well and there is time; etcd's revision
        after the last one, 0 if there was none."""
        newest = 0
        member = self._members[0]
        while times > 0 and not self._closed and (left := deadline - time.monotonic()) > 0:
            calls = [
                member.txn.future(request, timeout=left, metadata=_metadata(self._token))
                for _ in range(min(times, _AT_ONCE))
            ]
            times -= len(calls)
            try:
                answers = [call.result() for call in calls]
            except (grpc.RpcError, grpc.FutureCancelledError):
                break
            newest = max(answer.header.revision for answer in answers)
            if not all(answer.succeeded for answer in answers):
                break
        return newest

    def _call(
        self, method: Callable[[_Member], Callable[..., Any]], request: Any, deadline: float
    ) -> Any:
        begun = time.monotonic()
        failures: dict[str, str] = {}
        while True:
            members = self._members
            for number, member in enumerate(members):
                # A frozen one may take its share of the time left, not more.
                share = (deadline - time.monotonic()) / (len(members) - number)
                if share <= 0 or self._closed:
                    break
                try:
                    answer = self._ask(member, method(member), request, time.monotonic() + share)
                except grpc.RpcError as error:
                    if final := self._final(error, member.target):
                        raise final from error
                    failures[member.target] = _told(error)
                    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                        self._members = [*_without(self._members, member), member]
                        self._reconnect(member)
                else:
                    if member is not self._members[0]:
                        self._members = [member, *_without(self._members, member)]
                    return answer
            if self._closed or time.monotonic() + _PAUSE > deadline:
                break
            time.sleep(_PAUSE)
        if self._closed:
            failures = {"here": "the store was closed"}
        why = "; ".join(f"{target}: {text}" for target, text in failures.items())
        raise StoreUnavailable(
            f"etcd ({self._where}) could not be used within {time.monotonic() - begun:.1f} s "
            f"(c.EtcdStore{self._settings}): {why or 'no time was left'}"
        )

    def _ask(
        self, member: _Member, method: Callable[..., Any], request: Any, deadline: float
    ) -> Any:
        """One call, and a second one with a new token if the token was refused."""
        fresh = False
        while True:
            if self._login and self._token is None:
                self._token = self._authenticate(member, self._login, deadline)
                fresh = True
            try:
                return method(
                    request,
                    timeout=max(deadline - time.monotonic(), 0),
                    metadata=_metadata(self._token),
                )
            except grpc.RpcError as error:
                if fresh or not self._login or not _says(error, *_TOKEN_REFUSED):
                    raise
                self._token = None

    def _authenticate(self, member: _Member, login: Login, deadline: float) -> str:
        request = etcdrpc.AuthenticateRequest(name=login.username, password=login.password)
        try:
            answer = member.authenticate(
                request, timeout=max(deadline - time.monotonic(), 0), metadata=_metadata(None)
            )
        except grpc.RpcError as error:
            # As etcd's own client does, and with it Traefik.
            if _says(error, "authentication is not enabled"):
                return ""
            raise
        token: str = answer.token
        return token

    def _final(self, error: grpc.RpcError, target: str) -> StoreError | None:
        """What the caller is told, if asking another endpoint, or later, is pointless."""
        code, told = error.code(), f"etcd at {target}: {_told(error)}"
        user = f"the user {self._login.username!r}" if self._login else "a client without user"
        options = self._login.options if self._login else "c.EtcdStore.username, .password"
        match code:
            case grpc.StatusCode.OUT_OF_RANGE:
                return RevisionGoneError(told)
            case grpc.StatusCode.RESOURCE_EXHAUSTED if _says(error, "space exceeded"):
                return StoreUnavailable(
                    f"{told}. It takes no writes until its quota is raised or its database "
                    "compacted and defragmented, and the alarm disarmed (etcdctl alarm disarm)."
                )
            case grpc.StatusCode.RESOURCE_EXHAUSTED if _says(error, "larger than max"):
                return RecordRefused(f"{told} (etcd's --max-request-bytes, {_SIZE})")
            case grpc.StatusCode.PERMISSION_DENIED:
                may = "read and write" if self._permission.startswith("readwrite") else "read"
                return StoreUnavailable(
                    f"{told}: {user} may not {may} below the store's prefix "
                    f"({options.partition(',')[0]}, .prefix). Give a role of that user the right: "
                    f"etcdctl role grant-permission ROLE {self._permission}"
                )
            case grpc.StatusCode.INVALID_ARGUMENT if _says(error, "request is too large"):
                return RecordRefused(f"{told} (etcd's --max-request-bytes, {_SIZE})")
            case grpc.StatusCode.INVALID_ARGUMENT if _says(error, "too many operations"):
                return StoreError(f"{told} (etcd's --max-txn-ops, c.EtcdStore.max_txn_ops)")
            case grpc.StatusCode.INVALID_ARGUMENT if _says(error, "authentication failed"):
                return StoreUnavailable(f"{told}: {user} is refused ({options})")
            case grpc.StatusCode.INVALID_ARGUMENT if _says(error, "user name is empty"):
                return StoreUnavailable(f"{told}: {user} is refused ({options}, or .client_cert)")
            case grpc.StatusCode.INVALID_ARGUMENT if not _says(error, *_TOKEN_REFUSED):
                return StoreError(told)
        return None


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    # A member that knows of no leader says so at once; else it would let the call hang.
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token)) if token else leader


def _without(members: Sequence[_Member], member: _Member) -> list[_Member]:
    return [each for each in members if each is not member]


def _says(error: grpc.RpcError, *texts: str) -> bool:
    details = error.details() or ""
    return any(text in details for text in texts)


def _told(error: grpc.RpcError) -> str:
    """gRPC's words, without what it repeats of the address."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer"
    details: str = error.details() or error.code().name
    return details.rpartition("last error: ")[2].strip()[:300]
