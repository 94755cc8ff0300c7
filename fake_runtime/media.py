"""Small files of other kinds than PNG: animations, a video container, a sound file, each with its true signature."""

import html
import io
import json
import struct
from collections.abc import Sequence

from PIL import Image


def animated(frames: Sequence[Image.Image], kind: str, frames_per_second: float) -> bytes:
    """An endless animation.

    Args:
        frames: at least one.
        kind: ``GIF``, ``WEBP`` or ``PNG``.
        frames_per_second: above 0.
    """
    buffer = io.BytesIO()
    first, *rest = [frame.convert("RGB") for frame in frames]
    options: dict[str, object] = {"method": 0} if kind == "WEBP" else {}
    if kind == "PNG":
        options["compress_level"] = 1
    duration = max(1, int(1000 / max(frames_per_second, 0.01)))
    first.save(buffer, kind, save_all=True, append_images=rest, duration=duration, loop=0, **options)
    return buffer.getvalue()


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def mp4(frames: Sequence[bytes], frames_per_second: float) -> bytes:
    """An ISO base media file (ISO/IEC 14496-12) without a track: players know it, and find nothing to show.

    Args:
        frames: what to put in the data box.
        frames_per_second: gives the duration that the header states.
    """
    milliseconds = int(1000 * len(frames) / max(frames_per_second, 0.01))
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = struct.pack(">4IIH10x", 0, 0, 0, 1000, milliseconds, 0x10000 >> 16) + matrix + bytes(24)
    movie = _box(b"moov", _box(b"mvhd", header + struct.pack(">I", 1)))
    return (
        _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isomiso2avc1mp41") + movie + _box(b"mdat", b"".join(frames))
    )


def flac(seconds: float, sample_rate: int = 44_100) -> bytes:
    """A FLAC stream (RFC 9639) of two channels at 16 bits with its STREAMINFO alone: the right length, no sound."""
    samples = int(seconds * sample_rate)
    packed = (sample_rate << 44) | (1 << 41) | (15 << 36) | (samples & 0xFFFFFFFFF)
    stream_info = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(stream_info).to_bytes(3, "big") + stream_info


def glb() -> bytes:
    """A binary glTF 2.0 file with one triangle (Khronos glTF 2.0, chapters 3 and 4)."""
    points = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 0]}
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(points)}],
        "buffers": [{"byteLength": len(points)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(points), b"BIN\0") + points
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def ply() -> bytes:
    """A PLY file (ASCII) with one point."""
    head = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    return f"{head}0 0 0\n".encode()


def svg(width: int, height: int, caption: str) -> bytes:
    """A drawing that shows a text."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return f'{head}<text x="8" y="24">{html.escape(caption[:200])}</text></svg>\n'.encode("utf-8", "replace")


def safetensors() -> bytes:
    """A safetensors file with one small tensor, as SaveLatent writes it."""
    head = json.dumps({"latent_tensor": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + bytes(4)


def webm() -> bytes:
    """A WebM file (RFC 8794, RFC 9559) without a track."""

    def element(identifier: str, payload: bytes) -> bytes:
        return bytes.fromhex(identifier) + bytes([0x80 | len(payload)]) + payload

    head = element("4286", b"\1") + element("42f7", b"\1") + element("42f2", b"\4") + element("42f3", b"\x08")
    head += element("4282", b"webm") + element("4287", b"\2") + element("4285", b"\2")
    return element("1a45dfa3", head) + element("18538067", b"")


def mp3(frames: int = 4) -> bytes:
    """Frames of silence: MPEG-1 Layer III, 128 kbit/s, 44.1 kHz (ISO/IEC 11172-3, 2.4.1.3)."""
    return (b"\xff\xfb\x90\x64" + bytes(413)) * frames


def ogg_opus() -> bytes:
    """An Ogg stream (RFC 3533) with Opus' two head packets (RFC 7845) and no sound."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 4) + b"fake" + struct.pack("<I", 0)
    return _ogg_page(head, 0, 2) + _ogg_page(tags, 1, 4)


def _ogg_page(packet: bytes, number: int, flags: int) -> bytes:
    page = struct.pack("<4sBBQIIIBB", b"OggS", 0, flags, 0, 1, number, 0, 1, len(packet)) + packet
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", checksum) + page[26:]
