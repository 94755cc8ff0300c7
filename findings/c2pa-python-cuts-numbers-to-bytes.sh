#!/usr/bin/env bash
# c2pa-python 0.38.0 signs a list of whole numbers among an action's parameters as a string of bytes, each number cut to its
# lowest eight bits, without an error: [7, 300] is signed, and read by its own reader, as the bytes 7 and 44 ("Byw="). A number
# by itself, and a list of texts, are signed as they are. So seeds have to be written as text.
# Needs uv. Exits 0 while it behaves so, 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet --python 3.13 "$folder/venv"
uv pip install --quiet --python "$folder/venv/bin/python" c2pa-python==0.38.0 pillow==12.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
from datetime import UTC, datetime, timedelta

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

root_key, key, now = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)


def name(text):
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"), x509.NameAttribute(NameOID.COMMON_NAME, text)]
    )


def certificate(text, public, *, root):
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
        False,
    )
    usage = x509.KeyUsage(digital_signature=not root, key_cert_sign=root, crl_sign=root, **usages)
    builder = x509.CertificateBuilder(name("root"), name(text), public, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(root, None), True).add_extension(usage, True)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    builder = builder.add_extension(issuer, False)
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM)


chain = certificate("signer", key.public_key(), root=False) + certificate("root", root_key.public_key(), root=True)
private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", chain, private, None))
action = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
    "parameters": {"numbers": [7, 300], "number": 300, "texts": ["7", "300"]},
}
manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]}
picture, signed = io.BytesIO(), io.BytesIO()
Image.new("RGB", (8, 8)).save(picture, "PNG")
picture.seek(0)
c2pa.Builder(manifest, context=c2pa.Context(signer=signer)).sign("image/png", picture, signed)
signed.seek(0)
reader = c2pa.Reader("image/png", signed)
(assertion,) = reader.get_active_manifest()["assertions"][:1]
found = assertion["data"]["actions"][0]["parameters"]
print("c2pa-python", c2pa.__version__, "validation:", reader.get_validation_state())
print("written:", action["parameters"], "read:", found)
assert found == {"numbers": "Byw=", "number": 300, "texts": ["7", "300"]}
PYTHON
