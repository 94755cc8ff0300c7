"""Small files of other kinds than PNG: animations, a video container, a sound file, each with its true signature."""

import io
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
