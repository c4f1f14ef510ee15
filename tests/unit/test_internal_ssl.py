"""The files of JupyterHub's internal TLS: what is refused, and what Traefik is given."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from traefikhub.internal_ssl import InternalSsl, TransportTls, transport_records
from traefikhub.session._internal_ssl import forget_others, keep, read_internal_ssl
from traefikhub.stores import Batch, Document
from traefikhub.stores._layout import canonical
from traefikhub.testing import Certificates
from traefikhub.traefik import TraefikUnusable


@pytest.fixture
def files(tmp_path: Path) -> InternalSsl:
    own, other = (Certificates.make(tmp_path / name) for name in ("own", "other"))
    return InternalSsl(own.client_cert, own.client_key, (own.ca, other.ca))


def expired(directory: Path) -> tuple[str, str]:
    """A certificate that ended yesterday, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxy")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - datetime.timedelta(days=9))
    made = builder.not_valid_after(now - datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    (directory / "old.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    text = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    (directory / "old.key").write_bytes(text)
    return str(directory / "old.crt"), str(directory / "old.key")


def test_who_is_trusted_depends_on_no_order_and_no_file(files: InternalSsl) -> None:
    first, second = files.authorities
    made = read_internal_ssl(files)
    assert made.authorities.count("BEGIN CERTIFICATE") == 2
    for authorities in ((second, first), (first, first, second)):
        again = InternalSsl(files.certificate, files.key, authorities)
        assert read_internal_ssl(again) == made


def test_an_expired_certificate_is_refused(files: InternalSsl, tmp_path: Path) -> None:
    old = InternalSsl(*expired(tmp_path), files.authorities)
    with pytest.raises(TraefikUnusable, match=r"expired on .*recreate_internal_certs = True"):
        read_internal_ssl(old)


@pytest.mark.parametrize("field", ["certificate", "key", "authorities"])
def test_each_file_that_is_missing_is_named(files: InternalSsl, field: str) -> None:
    path = getattr(files, field)
    path = path if isinstance(path, str) else path[1]
    Path(path).unlink()
    with pytest.raises(TraefikUnusable, match="No such file") as raised:
        read_internal_ssl(files)
    assert path in str(raised.value)
    assert "c.JupyterHub.internal_certs_location" in str(raised.value)


@pytest.mark.parametrize("form", ["texts", "paths"])
def test_every_store_can_keep_it(files: InternalSsl, tmp_path: Path, form: str) -> None:
    tls = read_internal_ssl(files)
    if form == "paths":
        tls = keep(tls, tmp_path)
    records = transport_records(tls)
    Batch(1, records)
    for key, document in records.items():
        assert canonical(key, document) == document


def test_limits_hold_for_servers_with_tls_but_trust_is_jupyterhubs(files: InternalSsl) -> None:
    tls = read_internal_ssl(files)
    limits: dict[str, Document] = {"maxIdleConnsPerHost": 7, "forwardingTimeouts": {"a": "5s"}}
    others: dict[str, Document] = {"insecureSkipVerify": True, "rootCAs": ["/else"]}
    (made,) = transport_records(tls, limits | others).values()
    assert made == limits | tls.fields


def test_the_copies_change_their_names_with_their_content(
    files: InternalSsl, tmp_path: Path
) -> None:
    first = keep(read_internal_ssl(files), tmp_path)
    assert keep(read_internal_ssl(files), tmp_path) == first
    assert Path(first.key).read_text() == Path(files.key).read_text()
    fewer = InternalSsl(files.certificate, files.key, files.authorities[:1])
    second = keep(read_internal_ssl(fewer), tmp_path)
    assert not {*paths(first)} & {*paths(second)}

    forget_others(tmp_path, second)
    assert not any(Path(path).exists() for path in paths(first))
    assert all(Path(path).exists() for path in paths(second))
    forget_others(tmp_path, None)
    forget_others(tmp_path, None)
    assert [each.name for each in tmp_path.iterdir()].count("internal-ssl") == 0


def paths(tls: TransportTls) -> tuple[str, str, str]:
    return tls.certificate, tls.key, tls.authorities


def test_copies_that_cannot_be_kept(files: InternalSsl, tmp_path: Path) -> None:
    (tmp_path / "internal-ssl").write_text("in the way")
    with pytest.raises(TraefikUnusable, match=r"c\.TraefikProxy\.run_dir"):
        keep(read_internal_ssl(files), tmp_path)
