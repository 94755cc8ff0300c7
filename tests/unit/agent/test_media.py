"""Files are told by their first bytes."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agent.media import content_type_of, extension_of, media_type_of, output_type


def image(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind)
    return buffer.getvalue()


def boxes(brand: bytes) -> bytes:
    return struct.pack(">I", 20) + b"ftyp" + brand + bytes(100)


def ebml(doc_type: bytes) -> bytes:
    return bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282") + bytes([0x80 | len(doc_type)]) + doc_type


@pytest.mark.parametrize(
    ("data", "extension", "content_type"),
    [
        pytest.param(image("PNG"), "png", "image/png", id="png"),
        pytest.param(image("JPEG"), "jpg", "image/jpeg", id="jpeg"),
        pytest.param(image("GIF"), "gif", "image/gif", id="gif"),
        pytest.param(image("WEBP"), "webp", "image/webp", id="webp"),
        pytest.param(image("AVIF"), "avif", "image/avif", id="avif"),
        pytest.param(image("BMP"), "bmp", "image/bmp", id="bmp"),
        pytest.param(image("TIFF"), "tiff", "image/tiff", id="tiff"),
        pytest.param(boxes(b"isom"), "mp4", "video/mp4", id="mp4"),
        pytest.param(boxes(b"qt  "), "mov", "video/quicktime", id="mov"),
        pytest.param(boxes(b"M4A "), "m4a", "audio/mp4", id="m4a"),
        pytest.param(ebml(b"webm"), "webm", "video/webm", id="webm"),
        pytest.param(ebml(b"matroska"), "mkv", "video/x-matroska", id="mkv"),
        pytest.param(b"fLaC\x80\x00\x00\x22" + bytes(34), "flac", "audio/flac", id="flac"),
        pytest.param(b"RIFF\x24\0\0\0WAVEfmt ", "wav", "audio/wav", id="wav"),
        pytest.param(b"RIFF\x24\0\0\0AVI LIST", "avi", "video/x-msvideo", id="avi"),
        pytest.param(b"ID3\x04\0\0\0\0\0\0", "mp3", "audio/mpeg", id="mp3 with tags"),
        pytest.param(b"\xff\xfb\x90\x64" + bytes(100), "mp3", "audio/mpeg", id="mp3 frame"),
        pytest.param(b"OggS\0\2" + bytes(60), "ogg", "audio/ogg", id="ogg"),
    ],
)
def test_the_formats_that_runtimes_make_are_recognised(data: bytes, extension: str, content_type: str) -> None:
    assert (extension_of(data), content_type_of(data)) == (extension, content_type)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<!DOCTYPE html><html></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        b'{"AccessKeyId": "x"}',
        b"PK\x03\x04",
        b"%PDF-1.7",
        b"\x80\x04\x95",
        b"\x7fELF",
        b"RIFF\x24\0\0\0EVIL",
        b"BMW makes cars",
    ],
)
def test_anything_else_is_unknown(data: bytes) -> None:
    assert media_type_of(data) is None
    assert (extension_of(data), content_type_of(data)) == ("bin", "application/octet-stream")


@given(st.binary(max_size=100))
def test_any_bytes_get_an_extension_that_fits_into_a_name(data: bytes) -> None:
    assert extension_of(data).isalnum()


@pytest.mark.parametrize(
    ("name", "data", "extension", "content_type"),
    [
        ("mesh_00001_.glb", b"glTF\2\0\0\0", "glb", "model/gltf-binary"),
        ("cloud.ply", b"ply\n", "ply", "model/ply"),
        ("drawing.svg", b"<svg/>", "svg", "image/svg+xml"),
        ("words.txt", b"a fox", "txt", "text/plain"),
        ("words.txt", b"", "txt", "text/plain"),
        ("boxes.json", b"{}", "json", "application/json"),
        ("ComfyUI_00001_.latent", b"\x08\0\0\0", "latent", "application/octet-stream"),
        ("layers.psd", b"8BPS", "psd", "image/vnd.adobe.photoshop"),
        ("photo.jxl", b"\xff\x0a", "jxl", "image/jxl"),
        ("old.mov", b"\0\0\0\x08wide", "mov", "video/quicktime"),
        ("clip.mov", boxes(b"isom"), "mov", "video/quicktime"),
        ("A.PNG", image("PNG"), "png", "image/png"),
        ("a.png", image("WEBP"), "webp", "image/webp"),
        ("a.jpeg", image("JPEG"), "jpg", "image/jpeg"),
        ("a.bin", image("PNG"), "png", "image/png"),
        ("a", image("PNG"), "png", "image/png"),
        ("", image("PNG"), "png", "image/png"),
        ("a.what is this", b"?", "bin", "application/octet-stream"),
        ("a.custom", b"?", "custom", "application/octet-stream"),
        ("page.html", b"<script>", "html", "application/octet-stream"),
    ],
)
def test_a_servers_own_name_decides_and_bytes_overrule_it_among_pictures_only(
    name: str, data: bytes, extension: str, content_type: str
) -> None:
    kind = output_type(name, data)
    assert (kind.extension, kind.content_type) == (extension, content_type)


@given(st.text(max_size=40), st.binary(max_size=100))
def test_any_output_gets_an_extension_that_fits_into_a_key(name: str, data: bytes) -> None:
    assert output_type(name, data).extension.isalnum()
