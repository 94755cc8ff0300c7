#!/usr/bin/env bash
# Python 3.13 verifies certificates strictly (RFC 5280): a cluster CA without key identifiers, as EKS hands one out, is
# refused by every client that uses ssl.create_default_context(), although OpenSSL and Go's clients accept the chain.
# A client inside a pod then fails with CERTIFICATE_VERIFY_FAILED at the API server. Clearing VERIFY_X509_STRICT alone
# keeps the chain and the host name verified.
# Needs uv. Exits 0 while it behaves so, 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet --python 3.13 "$folder/venv"
uv pip install --quiet --python "$folder/venv/bin/python" cryptography==46.0.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import datetime
import ipaddress
import socket
import ssl
import sys
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

folder = Path(sys.argv[1])
print(f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}")


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, issuer, key, signer, *extensions):
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def usage(**on):
    kinds = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{kind: on.get(kind, False) for kind in kinds})


authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ca = certificate(
    "kubernetes", "kubernetes", authority, authority,
    (x509.BasicConstraints(True, None), True),
    (usage(digital_signature=True, key_encipherment=True, key_cert_sign=True), True),
)  # no subject key identifier
leaf = certificate(
    "kube-apiserver", "kubernetes", server, authority,
    (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False),
)  # and no authority key identifier
pem = serialization.Encoding.PEM
(folder / "ca.pem").write_bytes(ca.public_bytes(pem))
(folder / "server.pem").write_bytes(
    leaf.public_bytes(pem)
    + server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
)

listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
listening.load_cert_chain(folder / "server.pem")
door = socket.create_server(("127.0.0.1", 0))


def serve():
    while True:
        try:
            listening.wrap_socket(door.accept()[0], server_side=True).close()
        except OSError:
            pass


threading.Thread(target=serve, daemon=True).start()


def connect(context, host="127.0.0.1"):
    try:
        with socket.create_connection(door.getsockname()) as plain, context.wrap_socket(plain, server_hostname=host):
            return "accepted"
    except ssl.SSLCertVerificationError as error:
        return f"refused: {error.verify_message}"


usual = ssl.create_default_context(cafile=folder / "ca.pem")
lenient = ssl.create_default_context(cafile=folder / "ca.pem")
lenient.verify_flags &= ~ssl.VERIFY_X509_STRICT
found = {
    "create_default_context()": connect(usual),
    "without VERIFY_X509_STRICT": connect(lenient),
    "without it, another host": connect(lenient, "127.0.0.2"),
}
for what, outcome in found.items():
    print(f"{what}: {outcome}")
first, second, third = found.values()
assert first.startswith("refused: Missing"), first
assert second == "accepted", second
assert third.startswith("refused: IP address mismatch"), third
PYTHON
