"""Users of Traefik's basic authentication, and the default certificate."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ssl

import bcrypt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from traefikhub.traefik import certificate as certificates
from traefikhub.traefik.certificate import make_default_certificate, still_good
from traefikhub.traefik.passwords import admin_user, polling_user


def test_the_polling_user_has_a_cheap_hash_that_fits() -> None:
    name, _, hashed = polling_user("traefikhub", "pässword").partition(":")
    digest = base64.b64encode(hashlib.sha1("pässword".encode()).digest()).decode()
    assert (name, hashed) == ("traefikhub", "{SHA}" + digest)


def test_the_admin_has_a_slow_hash_that_fits() -> None:
    name, _, hashed = admin_user("admin", "pässword", []).partition(":")
    assert name == "admin"
    assert bcrypt.checkpw("pässword".encode(), hashed.encode())
    assert not bcrypt.checkpw(b"another", hashed.encode())
    assert int(hashed.split("$")[2]) >= 10


def test_a_user_that_still_fits_is_kept() -> None:
    user = admin_user("admin", "secret", [])
    assert admin_user("admin", "secret", ["traefikhub:{SHA}x", user]) == user


def test_a_user_of_another_name_or_password_is_not_kept() -> None:
    user = admin_user("admin", "secret", [])
    assert admin_user("admin", "other", [user]) != user
    assert admin_user("root", "secret", [user]).startswith("root:")


@pytest.mark.parametrize(
    "known",
    [
        *("", ":", "admin", "admin:", "admin:$2", "admin:$2b$10$short"),
        *(f"admin:$2b${cost}${'.' * 53}" for cost in ("03", "04", "32")),
    ],
)
def test_a_known_user_that_was_broken_by_hand_is_replaced(known: str) -> None:
    _, _, hashed = admin_user("admin", "secret", [known]).partition(":")
    assert bcrypt.checkpw(b"secret", hashed.encode())


def test_a_password_that_bcrypt_would_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"c\.TraefikProxy\.traefik_api_password") as caught:
        admin_user("admin", "é" * 36 + "x", [])
    assert "é" not in str(caught.value)
    assert admin_user("admin", "é" * 36, []).startswith("admin:")


def test_the_default_certificate_fits_its_key_and_is_elliptic() -> None:
    certificate, key = make_default_certificate()
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    private = serialization.load_pem_private_key(key.encode(), None)
    encoding = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert public.public_bytes(*encoding) == private.public_key().public_bytes(*encoding)
    assert "BEGIN PRIVATE KEY" in key
    assert ssl.PEM_cert_to_DER_cert(certificate)


def test_a_new_certificate_is_good() -> None:
    assert still_good(make_default_certificate()[0])


def test_a_certificate_near_its_end_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_VALID", datetime.timedelta(days=20))
    assert not still_good(make_default_certificate()[0])


def test_another_partys_certificate_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_NAME", "hub.example")
        other, _ = make_default_certificate()
    assert not still_good(other)


@pytest.mark.parametrize("text", ["", "/path/to/cert.pem", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_what_is_no_certificate_is_not_good(text: str) -> None:
    assert not still_good(text)
