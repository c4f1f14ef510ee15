"""The words of Traefik's errors, which may be shown."""

from __future__ import annotations

from typing import Final

__all__ = ["PROVIDERS", "WORDS"]

WORDS: Final = frozenset(
    """
    a able access add adding address after algorithm all allowed already also an and any api are
    argument arguments as at auth authentication authenticator available backend bad balancer basic
    basicuser be because been before between bigger body both brace bracket build builder building
    but by bytes ca can can't cannot certificate certificates chain character characters check
    checker children cidr cipher class client closing code compile compiling config configuration
    consider cookie could couldn't create creating currently curve declaring default defined
    detected did different digest digestuser directory do does doesn't domain domains duplicate
    duration each either empty encoded entry entrypoint entrypoints error errors escape exist exists
    expected expecting experimental expression failed failover failure file files filter first flag
    for format forward forwardauth found from function get given group grpc handler has have header
    headers health healthcheck helpers highest hijack host hostregexp hostsni http https if illegal
    in incorrect indirect insecure instantiate instead internal interval into invalid ip ipallowlist
    is isn't it its key key/value least length less limit listener load loadbalancer loading local
    loop making many match matcher matchers maxidleconns maximum message method middleware
    middlewares minimum mirror mirroring mismatch missing mode modulo more multi-types multiple must
    name named names neither nested network new no non none nonexistent nor not nothing number
    observer of on one only operand operation operator option options or order out pair parameter
    parse parser parsing password path pathprefix pathregexp pattern period permitted pieces plugin
    plugins pool port positive possible prefix previous priority proto protocol provider proxy query
    queryregexp queue range rate ratelimit reached read reading record recursion recursive
    recursively redirect redundant referenced refused regex regexp regular repeat repetition
    replacement request required resolve resolver response retry root router routers rule rules same
    scheme segment sequence server servername servers service services set several should since
    single size slash sni some source sourcerange specified stack start sticky strategy string strip
    supported syntax target tcp template termination text than that the there this timeout tls to
    token too tracing trailing transport tree two type types udp unable unclosed undefined
    understand unexpected unit unknown unmarshal unsupported unterminated url use used user userinfo
    users using valid value values version was weight weighted were when while whitelist wide with
    within without wrong wrr x509
    """.split()  # noqa: SIM905 (as a list, these are 300 lines)
)
PROVIDERS: Final = frozenset(("consul", "etcd", "file", "http", "internal", "redis", "rest"))
"""Where what Traefik knows is configured, as it follows the ``@`` of a name."""
