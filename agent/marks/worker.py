"""`python -m agent.marks.worker`: signs files, one answer after the other, as its parent asks on standard input.

A process of its own: a file that makes the library crash takes no agent with it, and it gives way to the agent, which
keeps the GPU at work. It knows its parent's key and nothing of its AWS credentials.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
import re
import sys
from contextlib import suppress
from typing import IO, Any, Final

from agent.marks.facts import Facts, facts_of_answer
from agent.marks.frames import read_frame, write_frame
from agent.marks.manifest import manifest_of

_NICE: Final = 10

# No thumbnail: it would be drawn of each file (half a second for a megapixel), and the file is its own picture. What
# was signed is read again and validated, so that no file leaves with a manifest that does not hold.
_SETTINGS: Final = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": True}}

_PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel, to try a signer with."""

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


class SignerError(Exception):
    """A private key or a certificate that cannot be used; its text says why, and holds nothing of them."""


class Marker:
    """Signs by one key.

    Args:
        pem: the private key and its certificates, the signer's own first.

    Raises:
        SignerError: it cannot sign by them.
    """

    def __init__(self, pem: str) -> None:
        import c2pa  # noqa: PLC0415 - loads 23 MB, which nobody else needs

        self._c2pa: Any = c2pa
        algorithm, key, certificates = _read_signer(pem)
        self._info = algorithm, certificates, key
        try:
            self.sign(_PIXEL, "image/png", manifest_of(Facts(), (), runtime="", when="", title=""))
        except Exception as error:
            raise SignerError(f"the library cannot sign by it: {_words(error)}") from error

    def sign(self, data: bytes, media_type: str, manifest: dict[str, Any]) -> bytes:
        """Returns a file with a manifest. A manifest that it has already is kept, as what this one was made of.

        Raises:
            c2pa.C2paError: it cannot be signed, as a file that is broken.
        """
        c2pa = self._c2pa
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(*self._info, None))
        with (
            c2pa.Context.from_dict(_SETTINGS, signer) as context,
            c2pa.Builder(manifest, context=context) as builder,
        ):
            if self._has_manifest(data, media_type):
                parent = {"title": manifest["title"], "relationship": "parentOf"}
                builder.add_ingredient(parent, media_type, io.BytesIO(data))
            signed = io.BytesIO()
            builder.sign(media_type, io.BytesIO(data), signed)
            return signed.getvalue()

    def _has_manifest(self, data: bytes, media_type: str) -> bool:
        # All that the formats hold of C2PA has this word in it (ISO 19566-5, the JUMBF label of a manifest store).
        if b"c2pa" not in data:
            return False
        reader = self._c2pa.Reader.try_create(media_type, io.BytesIO(data))
        if reader is None:
            return False
        reader.close()
        return True


def _read_signer(pem: str) -> tuple[str, bytes, bytes]:
    """Returns the algorithm (C2PA 2.4, "Digital signatures"), the key as PKCS #8, and the certificates."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415

    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(pem)]
    keys = [text for kind, text in blocks if kind.endswith("PRIVATE KEY")]
    certificates = [text for kind, text in blocks if kind == "CERTIFICATE"]
    if len(keys) != 1 or not certificates:
        raise SignerError(
            f"it must hold one private key and the certificates of its signer as PEM; found {len(keys)} and "
            f"{len(certificates)}"
        )
    try:
        key = serialization.load_pem_private_key(keys[0].encode(), None)
    except (TypeError, ValueError) as error:
        raise SignerError("its private key cannot be read; it must not have a password") from error
    match key:
        case ec.EllipticCurvePrivateKey():
            algorithm = {256: "es256", 384: "es384", 521: "es512"}.get(key.curve.key_size, "")
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case _:
            algorithm = ""
    if not algorithm:
        raise SignerError("its key must be of ECDSA (P-256, P-384, P-521), Ed25519 or RSA")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return algorithm, private, "\n".join(certificates).encode()


def mark_answer(marker: Marker, request: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Marks an answer's files, and puts them in the place of the unmarked ones within the answer itself.

    Args:
        marker: signs.
        request: `files`, each its `type` and `title`; `facts` of the request, `told`, `runtime` and `when`.
        blobs: the files, and after them the answer's JSON.

    Returns:
        `errors`, one for each file, empty where it was marked; and the blobs.
    """
    raw, blobs = blobs[-1], blobs[:-1]
    # Servers without a place for files answer with them, in base64. A shorter answer has none.
    holds_files = len(raw) > min(map(len, blobs))
    answer = json.loads(raw) if holds_files or b'"info"' in raw else None
    asked = request["facts"]
    facts = Facts(tuple(asked["models"]), tuple(asked["seeds"]), tuple(asked["prompts"]), asked["workflow"])
    facts = facts.joined(facts_of_answer(answer))
    marked: dict[bytes, bytes] = {}
    errors = []
    for number, (file, data) in enumerate(zip(request["files"], blobs, strict=True)):
        manifest = manifest_of(
            facts, request["told"], runtime=request["runtime"], when=request["when"], title=file["title"]
        )
        try:
            blobs[number] = marked[data] = marker.sign(data, file["type"], manifest)
        except Exception as error:  # noqa: BLE001 - whatever the library says of a file is the file's fault
            errors.append(_words(error))
        else:
            errors.append("")
    if holds_files:
        found = [0]
        replaced = _replaced(answer, marked, found)
        if found[0]:
            raw = json.dumps(replaced, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return {"errors": errors}, [*blobs, raw]


def _replaced(value: Any, marked: dict[bytes, bytes], found: list[int]) -> Any:
    """Returns a document with each unmarked file in base64 replaced by the marked one."""
    if isinstance(value, dict):
        return {name: _replaced(item, marked, found) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, marked, found) for item in value]
    if not isinstance(value, str) or len(value) < 64:
        return value
    head, comma, text = value.partition(",") if value.startswith("data:") else ("", "", value)
    try:
        new = marked.get(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return value
    if new is None:
        return value
    found[0] += 1
    return f"{head}{comma}{base64.b64encode(new).decode()}"


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests until there are no more; the first one brings the signer."""
    try:
        header, _ = read_frame(requests)
        try:
            marker = Marker(header["signer"])
        except SignerError as error:
            write_frame(answers, {"error": str(error)}, [])
            return
        write_frame(answers, {}, [])
        while True:
            header, blobs = read_frame(requests)
            try:
                answer = mark_answer(marker, header, blobs)
            except (ValueError, RecursionError) as error:
                # Of JSON that its adapter could read: whether it holds the files unmarked cannot be told.
                words = f"the answer that it came with cannot be read: {_words(error)}"
                answer = {"errors": [words] * len(header["files"])}, blobs
            write_frame(answers, *answer)
    except (EOFError, BrokenPipeError):
        return  # the agent has gone


def main() -> None:
    """Serves the parent."""
    with suppress(OSError):
        os.nice(_NICE)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever the library prints is no answer
    serve(sys.stdin.buffer, answers)
    with suppress(BrokenPipeError):
        answers.close()  # what an agent that was killed did not wait for


if __name__ == "__main__":
    main()
