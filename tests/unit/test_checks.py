"""Options that are looked at before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from traefikhub.traefik import TraefikUnusable
from traefikhub.traefik.certificate import make_default_certificate
from traefikhub.traefik.checks import (
    check_api_url,
    check_certificate,
    check_duration,
    check_entry_points,
    check_environment,
    check_hash,
    check_run_dir,
    check_trusted_proxies,
)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Files with a certificate and its key."""
    for name, text in zip(("cert", "key"), make_default_certificate(), strict=True):
        (tmp_path / name).write_text(text)
    return str(tmp_path / "cert"), str(tmp_path / "key")


def test_a_good_pair_and_none_are_fine(pair: tuple[str, str]) -> None:
    check_certificate(*pair)
    check_certificate("", "")


def test_one_without_the_other_is_told(pair: tuple[str, str]) -> None:
    for given in ((pair[0], ""), ("", pair[1])):
        with pytest.raises(
            TraefikUnusable, match=r"c\.JupyterHub\.ssl_(cert|key) is not"
        ) as caught:
            check_certificate(*given)
        assert "".join(given) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(pair: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.JupyterHub\.ssl_cert = '/nope\.pem'.*No such"):
        check_certificate("/nope.pem", "/nope.key")
    with pytest.raises(TraefikUnusable, match=r"c\.JupyterHub\.ssl_key = .*directory"):
        check_certificate(pair[0], str(tmp_path))


def test_what_is_no_pair_is_told(pair: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    for text in (make_default_certificate()[1], "text", ""):
        other.write_text(text)
        with pytest.raises(TraefikUnusable, match=r"c\.JupyterHub\.ssl_cert.*ssl_key"):
            check_certificate(pair[0], str(other))


def test_an_encrypted_key_is_told_and_asks_nobody(pair: tuple[str, str], tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(Path(pair[1]).read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    for form in (
        serialization.PrivateFormat.PKCS8,
        serialization.PrivateFormat.TraditionalOpenSSL,
    ):
        encrypted = tmp_path / "encrypted"
        encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
        with pytest.raises(TraefikUnusable, match=r"c\.JupyterHub\.ssl_key.*is encrypted"):
            check_certificate(pair[0], str(encrypted))


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "A"), ("", "a"), ("a", ""), ("a.b", "a"), ("a", "é"), ("a\n", "b")]
)
def test_entry_points_that_cannot_be(names: tuple[str, str]) -> None:
    with pytest.raises(TraefikUnusable, match=r"traefik_entrypoint.*traefik_api_entrypoint"):
        check_entry_points(*names)
    check_entry_points("http", "auth_api")


@pytest.mark.parametrize("url", ["https://h:1", "http://h:1/api", "http://h:1//", "http://h:1?x"])
def test_an_api_url_that_will_not_be(url: str) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.traefik_api_url"):
        check_api_url(url)
    for good in ("http://127.0.0.1:8099", "http://127.0.0.1:8099/"):
        check_api_url(good)


@pytest.mark.parametrize("path", ["", " ", "a\0b"])
def test_a_run_dir_that_is_none(path: str) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.run_dir"):
        check_run_dir(path)


@pytest.mark.parametrize("text", ["0s", "1.5s", "200ms", "1m30s", "2", "5µs"])
def test_durations(text: str) -> None:
    check_duration(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1s\n", "1d", "soon"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(TraefikUnusable, match="traefik_providers_throttle_duration"):
        check_duration(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "secret"),
        ("A=B", "secret"),
        ("A\0", "secret"),
        ("A", "secret\0"),
        ("A", "secret\ud800"),
    ],
)
def test_variables_that_cannot_be(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"c\.TraefikProxy\.traefik_env") as caught:
        check_environment({name: value})
    assert "secret" not in str(caught.value)
    check_environment({"A": "b=c", "é": ""})


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "$2b$04$Cxh7jvnRzx80io8CBY36puhjQrJp1VDaHpKl9QiCuhsaIiJwznkUq",
        "$apr1$k3oP1xZJ$ZbTLqWYQm/hYVH4xw7bJW.",
        "{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=",
    ],
)
def test_hashes(hashed: str) -> None:
    check_hash(hashed)


@pytest.mark.parametrize("hashed", ["my-password", "$6$salt$abc", "$2b$", "ada:{SHA}x", "{SHA}x"])
def test_what_is_no_hash_is_not_shown(hashed: str) -> None:
    with pytest.raises(ValueError, match="traefik_api_hashed_password") as caught:
        check_hash(hashed)
    if len(hashed) > 4:
        assert hashed not in str(caught.value)


@pytest.mark.parametrize("text", ["10.1.2.3", "10.0.0.0/8", "10.1.2.3/8", "::1", "fd00::/8"])
def test_proxies_to_trust(text: str) -> None:
    check_trusted_proxies([text])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lb.example",
        "10.0.0.0/33",
        "10.0.0",
        "10.0.0.1:80",
        "*",
        "10.0.0.0/255.0.0.0",
        "fe80::1%x",
    ],
)
def test_what_is_no_proxy_to_trust(text: str) -> None:
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.trusted_proxies"):
        check_trusted_proxies(["10.0.0.0/8", text])
