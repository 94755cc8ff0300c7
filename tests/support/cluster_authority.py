"""A cluster's certificate authority, with the shortcomings of real ones, and a certificate for its API server."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_KEY_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Style(StrEnum):
    """What an authority leaves out of its certificates."""

    EKS = "without key identifiers"
    """As EKS's does."""
    OLD = "without key usage"


@dataclass(frozen=True)
class Served:
    """Files in PEM."""

    authority: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Returns what the API server listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_authority(folder: Path, style: Style = Style.EKS, *, address: str = "127.0.0.1") -> Served:
    """Makes an authority and a certificate of it for one address."""
    now = dt.datetime.now(dt.UTC)
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])

    def builder(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    authority = builder(authority_name, authority_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    if style is not Style.OLD:
        usage = dict.fromkeys(_KEY_USAGES, False) | {"digital_signature": True, "key_cert_sign": True}
        authority = authority.add_extension(x509.KeyUsage(**usage), critical=True)
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    server = builder(server_name, server_key).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False
    )
    if style is not Style.EKS:
        server = server.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
        )
    served = Served(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    served.authority.write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    served.certificate.write_bytes(server.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    served.key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return served
