"""What a store is: the contract that its author fulfils and its callers rely on."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeVar

from traitlets import Float, MetaHasTraits, Unicode
from traitlets.config import LoggingConfigurable

if TYPE_CHECKING:
    from types import TracebackType

    from traefikhub.stores._batch import Batch, Document, Key, Snapshot

__all__ = ["RouteStore"]

_S = TypeVar("_S", bound="RouteStore")


class _AbstractConfigurable(ABCMeta, MetaHasTraits):
    """Makes ``abstractmethod`` effective on a Configurable: a store that lacks a method fails when
    it is made, not when a user's route is lost."""


class RouteStore(LoggingConfigurable, metaclass=_AbstractConfigurable):
    """Keeps records where one of Traefik's providers reads them.

    A subclass is found under its name in the entry point group ``traefikhub.stores``. It does no
    I/O in its constructor. Its options are traits tagged ``config=True``, set in
    ``jupyterhub_config.py`` as ``c.ClassName.option``.

    The promises (atomic, durable, read your writes, fenced, honest, quiet, real) are those of
    docs/architecture.md. Every method may be called from one event loop only, may take longer
    than a few milliseconds only off that loop, and ends within a small multiple of ``timeout``.
    """

    provider_name: ClassVar[str]
    """The name by which Traefik's API knows the provider: the part after ``@``, e.g. ``file``."""

    server: ClassVar[str] = ""
    """The server that the store needs, for people: ``Redis 6.2 or later``. Empty if it needs none.
    """

    run_dir = Unicode(
        ".",
        help="""The Hub's private directory on this machine, set by the proxy: the place for
        what a store keeps locally unless its own options say otherwise.""",
    )

    timeout = Float(
        10.0,
        help="Seconds after which one operation of the store fails as unavailable.",
    ).tag(config=True)

    @classmethod
    def missing(cls) -> str:
        """What this machine lacks for the store, with the command that brings it: ``the client
        library: pip install "traefikhub[etcd]"``. Empty if nothing; by default so.

        Found out without I/O beyond looking for a module or a program: neither is run.
        """
        return ""

    @property
    def unguarded(self) -> str:
        """Why whoever reaches the server may write there, such as ``c.EtcdStore.username is not
        set``; ``traefikhub check`` warns of it. Empty if the server asks who it is, or there is
        none; by default so. By the options alone, without I/O.
        """
        return ""

    @abstractmethod
    def provider_config(self) -> dict[str, Document]:
        """The fragment of Traefik's static configuration under ``providers``.

        For example ``{"file": {"filename": "/srv/hub/routes.toml", "watch": True}}``. May hold
        secrets: it is written to a file that only the Hub's user can read.
        """

    @abstractmethod
    async def open(self, *, read_only: bool = False) -> None:
        """Connect, and take over the store for writing unless ``read_only``.

        Taking over fences off the previous writer: its next ``apply`` fails. A reader takes over
        nothing and creates nothing.

        Raises:
            StoreUnavailable: it can't be reached, or this user may not use it.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything that ``open`` acquired. What was applied stays. Idempotent."""

    @abstractmethod
    async def load(self) -> Snapshot:
        """Everything that is stored now, including what others wrote behind the store's back.

        The caller must not change the documents: a store may hand out its own.

        Raises:
            StoreUnavailable: it can't be reached.
            StoreCorrupt: what is stored can't be read as records.
        """

    async def intact(self) -> bool:
        """Whether the store surely holds what was last loaded, and applied since, and no more.

        The cheap half of ``load``, which the caller turns to if this is False: "no" and "can't
        tell" are the same. A store need not have it.

        Raises:
            StoreUnavailable: it can't be reached.
        """
        return False

    @abstractmethod
    async def apply(self, batch: Batch) -> None:
        """Apply a batch, whole or not at all, together with its generation marker.

        When it returns, the change is durable. When it raises ``StoreUnavailable``, the batch may
        or may not have been applied (a lost answer); the caller loads and compares.

        Raises:
            FencedError: another writer has taken over; nothing was changed.
            RecordRefused: a document can't be represented; nothing was changed.
            StoreUnavailable: it can't be reached or written.
        """

    def canonical(self, key: Key, document: Document) -> Document:
        """A document as ``load`` returns it after it was applied.

        Documents of private sections come back exactly. Those of Traefik's sections may come back
        as Traefik reads them, e.g. numbers as text; a store that does so says it here.

        Raises:
            RecordRefused: the store can't represent the document.
        """
        return document

    async def __aenter__(self: _S) -> _S:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
