"""Makes a signer for content credentials on this machine; nobody trusts its certificate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contract.config import Config

_DAYS: Final = 30
_NAME: Final = "Darkroom test certificate, trusted by nobody"


def signer_for(config: Config, inherited: Mapping[str, str], folder: Path) -> str:
    """Returns what the agents' `CREDENTIALS_SIGNER` is to be: what the caller has set, or a file with a test signer.

    Empty, when no runtime's files are marked.
    """
    if not any(runtime.outputs.content_credentials for runtime in config.runtimes):
        return ""
    if inherited.get("CREDENTIALS_SIGNER"):
        return inherited["CREDENTIALS_SIGNER"]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "test-signer.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(make_signer())
    return str(path)


def make_signer(*, days: float = _DAYS) -> str:
    """Returns a new private key, its certificate, and that of the authority that issued it, as PEM.

    Args:
        days: that the certificate holds; with none above 0 it has expired.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("authority", authority_key, authority_key, is_authority=True, days=_DAYS)
    own = _certificate("signer", key, authority_key, is_authority=False, days=days)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return (private + own + authority).decode("ascii")


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
    days: float,
) -> bytes:
    """Returns a certificate by the profile of C2PA 2.4, "Certificate profile"."""
    now = datetime.now(UTC)
    public, issuer = key.public_key(), issuer_key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name("authority"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _name(who: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, _NAME), x509.NameAttribute(NameOID.COMMON_NAME, who)]
    )
