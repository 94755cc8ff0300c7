"""Tells what a file is: by its first bytes, and by the name that a server gave it."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass
from typing import Final

SIGNATURE_SIZE: Final = 64
"""Bytes that are enough to recognise every format here."""


@dataclass(frozen=True)
class MediaType:
    """A file format."""

    extension: str
    """Without a dot."""
    content_type: str


PNG: Final = MediaType("png", "image/png")
JPEG: Final = MediaType("jpg", "image/jpeg")
GIF: Final = MediaType("gif", "image/gif")
WEBP: Final = MediaType("webp", "image/webp")
AVIF: Final = MediaType("avif", "image/avif")
HEIC: Final = MediaType("heic", "image/heic")
BMP: Final = MediaType("bmp", "image/bmp")
TIFF: Final = MediaType("tiff", "image/tiff")
EXR: Final = MediaType("exr", "image/x-exr")
MP4: Final = MediaType("mp4", "video/mp4")
MOV: Final = MediaType("mov", "video/quicktime")
WEBM: Final = MediaType("webm", "video/webm")
MKV: Final = MediaType("mkv", "video/x-matroska")
AVI: Final = MediaType("avi", "video/x-msvideo")
M4A: Final = MediaType("m4a", "audio/mp4")
FLAC: Final = MediaType("flac", "audio/flac")
WAV: Final = MediaType("wav", "audio/wav")
MP3: Final = MediaType("mp3", "audio/mpeg")
AAC: Final = MediaType("aac", "audio/aac")
OGG: Final = MediaType("ogg", "audio/ogg")
UNKNOWN: Final = MediaType("bin", "application/octet-stream")

# What runtimes save besides, and Python's own table lacks: IANA's names where there are such, else the usual ones.
_NAMED: Final = {
    kind.extension: kind
    for kind in (
        *(PNG, JPEG, GIF, WEBP, AVIF, HEIC, BMP, TIFF, EXR, MP4, MOV, WEBM, MKV, AVI, M4A, FLAC, WAV, MP3, AAC, OGG),
        MediaType("jpeg", "image/jpeg"),
        MediaType("jxl", "image/jxl"),
        MediaType("hdr", "image/vnd.radiance"),
        MediaType("psd", "image/vnd.adobe.photoshop"),
        MediaType("tga", "image/x-tga"),
        MediaType("opus", "audio/ogg"),
        MediaType("aiff", "audio/aiff"),
        MediaType("mpg", "video/mpeg"),
        MediaType("ts", "video/mp2t"),
        MediaType("glb", "model/gltf-binary"),
        MediaType("gltf", "model/gltf+json"),
        MediaType("obj", "model/obj"),
        MediaType("stl", "model/stl"),
        MediaType("ply", "model/ply"),
        MediaType("fbx", "application/vnd.autodesk.fbx"),
        MediaType("usdz", "model/vnd.usdz+zip"),
        MediaType("srt", "application/x-subrip"),
        MediaType("yaml", "application/yaml"),
    )
}
_ENDING: Final = re.compile(r"[a-z0-9]{1,10}")
_MEANS_NOTHING: Final = frozenset({"bin", "dat", "tmp"})
_TYPES: Final = mimetypes.MimeTypes(filenames=())  # Python's own table: the system's files differ

ACTIVE: Final = frozenset({"htm", "html", "js", "mjs", "shtml", "svg", "svgz", "swf", "xht", "xhtml", "xml"})
"""Endings of files that a browser may run. They are stored for download: whoever writes a workflow must not run a
program under the address of somebody's bucket or CDN."""

# W3C PNG 5.2; ISO/IEC 10918-1 B.1.1.3 (SOI and the next marker); GIF89a 17; TIFF 6.0 section 2; OpenEXR file layout;
# RFC 9639 section 6 (FLAC); RFC 3533 section 6 (Ogg); id3.org v2.4 section 3.1.
_PREFIXES: Final[tuple[tuple[bytes, MediaType], ...]] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"v/1\x01", EXR),
    (b"fLaC", FLAC),
    (b"OggS", OGG),
    (b"ID3", MP3),
)

# The form type of a RIFF file, bytes 8 to 12 (RFC 9649 section 2.4; Microsoft RIFF).
_RIFF: Final = {b"WEBP": WEBP, b"WAVE": WAV, b"AVI ": AVI}

# The major brand of an ISO base media file, bytes 8 to 12 (ISO/IEC 14496-12 4.3; mp4ra.org); any other one is a video.
_BRANDS: Final = {
    b"avif": AVIF,
    b"avis": AVIF,
    b"heic": HEIC,
    b"heix": HEIC,
    b"mif1": HEIC,
    b"qt  ": MOV,
    b"M4A ": M4A,
    b"M4B ": M4A,
}


def media_type_of(data: bytes) -> MediaType | None:
    """Returns the format of an image, video or sound by its first `SIGNATURE_SIZE` bytes; None for anything else.

    SVG is none of them: it is a program in XML, and no runtime reads it.
    """
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], MP4)
    if data[:4] == b"\x1a\x45\xdf\xa3":
        # EBML (RFC 8794); its DocType tells WebM from other Matroska.
        return WEBM if b"webm" in data[:SIGNATURE_SIZE] else MKV
    if data[:2] == b"BM" and data[6:10] == b"\x00\x00\x00\x00":
        return BMP
    return _mpeg_audio(data)


def output_type(name: str, data: bytes) -> MediaType:
    """Returns the format of a file that a server made.

    Its name decides, since the server knows what it wrote; only what claims to be a picture is believed by its bytes.

    Args:
        name: the server's own; empty when it gave none.
        data: at least `SIGNATURE_SIZE` bytes, where there are so many.
    """
    found = media_type_of(data)
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    if not _ENDING.fullmatch(ending) or ending in _MEANS_NOTHING:
        return found or UNKNOWN
    claimed = _NAMED.get(ending) or MediaType(
        ending, _TYPES.guess_type(f"file.{ending}", strict=False)[0] or UNKNOWN.content_type
    )
    if found is not None and claimed.content_type.startswith("image/"):
        return found
    if ending in ACTIVE and claimed.content_type != "image/svg+xml":
        return MediaType(ending, UNKNOWN.content_type)
    return claimed


def extension_of(data: bytes) -> str:
    """Returns the file extension, without a dot, that fits the bytes; `bin` for the unknown."""
    return (media_type_of(data) or UNKNOWN).extension


def content_type_of(data: bytes) -> str:
    """Returns the MIME type that fits the bytes; `application/octet-stream` for the unknown."""
    return (media_type_of(data) or UNKNOWN).content_type


def _mpeg_audio(data: bytes) -> MediaType | None:
    """Recognises a bare stream by its frame header: MP3 (ISO/IEC 11172-3 2.4.1.3) or AAC in ADTS (14496-3 1.A.2)."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    if layer == 0:
        return AAC if data[1] & 0xF0 == 0xF0 else None
    bit_rate, sample_rate = data[2] >> 4, data[2] >> 2 & 3
    valid = version != 1 and bit_rate not in {0, 15} and sample_rate != 3
    return MP3 if valid and layer == 1 else None
