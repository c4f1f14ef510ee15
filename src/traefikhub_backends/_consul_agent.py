"""Asking a consul agent over HTTP: time limits, repetition, and what its answers mean."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from traefikhub.stores import RecordRefused, StoreError, StoreUnavailable
from traefikhub_backends._consul_lines import Lines, tls_context

__all__ = ["Agent", "Needs", "check_tls_files", "system_authorities"]

_TRANSACTIONS: Final = "/v1/txn"


class _Answer(NamedTuple):
    """modified: the index of the last change of what was asked for; empty if that can't change."""

    status: int
    text: str
    modified: str


class Needs(NamedTuple):
    """What a token must be allowed: ``policy`` on ``key_prefix``. option: which holds it."""

    option: str
    key_prefix: str
    policy: str


class Agent:
    """A consul agent. Every method blocks, for a small multiple of ``timeout`` at the most.

    needs: what the token must be allowed, for messages.

    Of py-consul it uses the session and the addresses. The methods above them can't do what is
    needed: its transactions carry neither token nor datacenter, the environment's token overrides
    the one given, redirects are followed, token and all, and there is one time limit for every
    read from a socket instead of one for the whole call.
    """

    def __init__(
        self,
        http: Any,
        where: str,
        token: str,
        datacenter: str,
        timeout: float,
        needs: Needs,
    ) -> None:
        self.needs = needs
        self.where = where + (f", datacenter {datacenter}" if datacenter else "")
        self._http = http
        self._timeout = timeout
        # Compressing takes longer than sending to one's own agent.
        self._headers = {"Accept-Encoding": "identity"} | (
            {"X-Consul-Token": token} if token else {}
        )
        self._parameters = [("dc", datacenter)] if datacenter else []
        # No proxy, no .netrc, no other certificate authorities out of the environment.
        http.session.trust_env = False
        url = http.uri(_TRANSACTIONS, self._parameters)
        tls = tls_context(http.verify, http.cert) if url.startswith("https:") else None
        self._lines = Lines(url, self._headers, tls)

    def close(self) -> None:
        """Close the connections; py-consul's own method doesn't."""
        self._http.session.close()

    def get(self, key: str, *, recurse: bool = False) -> Iterator[dict[str, Any]]:
        """What consul holds under a key, or under all that begin with it.

        Not from an agent's or follower's memory: as of a moment after this was called.
        """
        parameters = [("consistent", "1"), *([("recurse", "1")] if recurse else [])]
        answer = self._ask("GET", f"/v1/kv/{key}", parameters)
        return self._entries("[]" if answer.status == 404 else answer.text)

    def index_of(self, prefix: str) -> str:
        """The number of the last change below a prefix, a deletion included. It may fall: consul
        forgets after a quarter of an hour which keys were deleted.

        Verified with consul 1.8.7: changes elsewhere leave it alone, unless nothing is below.
        """
        # The first level only: what is below is counted all the same.
        parameters = [("consistent", "1"), ("keys", "1"), ("separator", "/")]
        return self._ask("GET", f"/v1/kv/{prefix}", parameters).modified

    def _entries(self, text: str) -> Iterator[dict[str, Any]]:
        """One after another, each forgotten before the next.

        Read at once, those of ten thousand routes would hold up the event loop's thread for a
        tenth of a second: the parser doesn't let go of Python's lock, and so many new objects set
        off the garbage collector.
        """
        try:
            yield from _items(text)
        except ValueError as error:
            raise self._stranger(text) from error

    def transact_stages(self, stages: Sequence[Sequence[list[Any]]]) -> bool:
        """Make transactions, those of one stage at once. The first operation of each is a guard;
        say whether that never failed.

        Raises:
            as ``transact``; some of them may have happened.
        """
        # All beforehand: they are to come to consul as close together as can be.
        encoded = [[_encoded(operations) for operations in stage] for stage in stages]
        try:
            self._lines.open(max(map(len, encoded), default=0), self._deadline())
            return all(map(self._transact_stage, stages, encoded))
        finally:
            self._lines.close()

    def _transact_stage(self, stage: Sequence[list[Any]], encoded: Sequence[bytes]) -> bool:
        deadline = self._deadline()
        # What had no good answer is sent again, singly: that tells what the matter is.
        return all(
            self.transact(stage[number], guarded=True, deadline=deadline) is not None
            for number in self._lines.put(encoded, deadline)
        )

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def transact(
        self, operations: list[Any], *, guarded: bool = False, deadline: float | None = None
    ) -> list[Any] | None:
        """Make the operations all at once; what consul tells of each that wrote something.

        Returns:
            None if the first is a guard (``guarded``) and the only one to fail.

        Raises:
            RecordRefused: it is larger than consul takes.
            StoreUnavailable: no answer, or the token may not do that.
            StoreError: consul rejects it.
        """
        status, text, _ = self._ask("PUT", _TRANSACTIONS, [], _encoded(operations), deadline)
        try:
            answer = json.loads(text)
            results: list[Any] = answer["Results"] or []
            failed = [each["OpIndex"] for each in answer["Errors"] or []]
            reasons = "; ".join(sorted({each["What"] for each in answer["Errors"] or []}))
        except (ValueError, KeyError, TypeError) as error:
            raise self._stranger(text) from error
        if status == 200 and not failed:
            return results
        if "ermission denied" in reasons:
            raise self._denied(reasons)
        if guarded and failed == [0]:
            return None
        raise StoreError(
            f"{self.where} rejects a transaction, and has done nothing of it: {reasons}"
        )

    def _ask(
        self,
        method: str,
        path: str,
        parameters: list[tuple[str, str]],
        body: bytes | None = None,
        deadline: float | None = None,
    ) -> _Answer:
        """An answer with status 200, 404 or 409.

        Every question of this store may be repeated, so that is done while there is time.
        """
        url = self._http.uri(path, parameters + self._parameters)
        deadline = deadline or self._deadline()
        pause = 0.02
        while True:
            cause: Exception | None = None
            try:
                answer = self._attempt(method, url, body, deadline)
            except OSError as error:  # those of requests, too
                cause, trouble = error, _reason(error)
                if "CERTIFICATE_VERIFY_FAILED" in trouble:
                    raise StoreUnavailable(
                        f"{self.where}: {trouble} (c.ConsulStore.ca_cert)"
                    ) from error
            else:
                status, text, _ = answer
                if status in (200, 404, 409):
                    return answer
                trouble = f"it answers {status} {text[:300].strip()!r}"
                if status in (401, 403):
                    raise self._denied(text[:300].strip())
                if status == 413:
                    raise RecordRefused(
                        f"{self.where} refuses {len(body or b'')} bytes at once: {trouble} "
                        "(c.ConsulStore.max_request_bytes)"
                    )
                if status < 500 and status != 429:
                    raise StoreError(f"{self.where}: {trouble}")
            if time.monotonic() + pause >= deadline:
                raise StoreUnavailable(
                    f"{self.where}: {trouble}; given up after {self._timeout:g} s "
                    "(c.ConsulStore.url, c.ConsulStore.timeout)"
                ) from cause
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _attempt(self, method: str, url: str, body: bytes | None, deadline: float) -> _Answer:
        answer = self._http.session.request(
            method,
            url,
            data=body,
            headers=self._headers,
            verify=self._http.verify,
            cert=self._http.cert,
            timeout=max(deadline - time.monotonic(), 0.01),  # for each read from the socket
            stream=True,
            allow_redirects=False,
        )
        with answer:
            pieces = []
            for piece in answer.iter_content(1 << 16):
                pieces.append(piece)
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer takes too long")
        text = b"".join(pieces).decode(errors="replace")
        if answer.status_code == 404 and "X-Consul-Index" not in answer.headers:
            raise self._stranger(text)  # it would pass for a store without a key
        return _Answer(answer.status_code, text, answer.headers.get("X-Consul-Index", ""))

    def _stranger(self, text: str) -> StoreError:
        return StoreError(
            f"{self.where} (c.ConsulStore.url) doesn't answer as consul does: {text[:100]!r}"
        )

    def _denied(self, what: str) -> StoreUnavailable:
        option, key_prefix, policy = self.needs
        rules = f'key_prefix "{key_prefix}" {{ policy = "{policy}" }}'
        return StoreUnavailable(
            f"{self.where} refuses the token of {option}: {what}. It needs {rules} "
            "(c.ConsulStore.prefix). Make that the rules of the token's policy: "
            f"consul acl policy update -id POLICY -rules '{rules}'"
        )


def check_tls_files(ca_cert: str, client_cert: str, client_key: str) -> None:
    """Name the option of a file that can't be used; the HTTP library wouldn't."""
    option = "ca_cert"
    try:
        context = ssl.create_default_context(cafile=ca_cert or None)
        if client_cert:
            option = "client_cert or .client_key"
            # A key with a password is of no use to Traefik; without this, one would be asked for.
            context.load_cert_chain(client_cert, client_key, password="")  # nosec B106
    except OSError as error:
        raise StoreError(f"c.ConsulStore.{option}: {error}") from error


def system_authorities() -> str | bool:
    """Where this machine keeps the authorities that it trusts, as Traefik does; requests has its
    own. True, for requests' own, if they are nowhere."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _encoded(operations: list[Any]) -> bytes:
    return json.dumps(operations, ensure_ascii=False).encode()


def _items(text: str) -> Iterator[Any]:
    """The items of a JSON list, one after another."""
    decode = json.JSONDecoder().raw_decode
    between = re.compile(r"[\s,\[\]]*")
    position = between.match(text).end()  # type: ignore[union-attr]
    while position < len(text):
        item, position = decode(text, position)
        yield item
        position = between.match(text, position).end()  # type: ignore[union-attr]


def _reason(error: BaseException) -> str:
    """The innermost system error: the layers above it only wrap each other's texts."""
    reason, inner = str(error), error.__cause__ or error.__context__
    while inner is not None:
        if isinstance(inner, OSError):
            reason = str(inner)
        inner = inner.__cause__ or inner.__context__
    return reason
