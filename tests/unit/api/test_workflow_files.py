"""A workflow is found in whatever file carries it, and what is hostile there is refused."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from api.workflows import containers
from api.workflows.errors import WorkflowError
from api.workflows.reading import read_workflow
from tests.support.editor import Drawing
from tests.support.workflows import diffusion, plain

API = diffusion("über a “fox” {x}")
EDITORS = dict(Drawing().node(3, "KSampler", 5, "fixed"))


def png(texts: dict[str, str], *, packed: bool = False, international: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        if international:
            info.add_itxt(name, text, zip=packed)
        else:
            info.add_text(name, text, zip=packed)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def animated_png(texts: dict[str, str]) -> bytes:
    """As ComfyUI's SaveAnimatedPNG writes it."""
    chunks = b"".join(
        struct.pack(">I", len(body)) + b"comf" + body + bytes(4)
        for body in (name.encode() + b"\0" + text.encode("latin-1") for name, text in texts.items())
    )
    whole, end = png({}), len(png({})) - 12
    return whole[:end] + chunks + whole[end:]


def webp(prompt: str, workflow: str) -> bytes:
    """As ComfyUI's SaveAnimatedWEBP writes it."""
    image = Image.new("RGB", (4, 4))
    exif = image.getexif()
    exif[0x0110], exif[0x010F] = f"prompt:{prompt}", f"workflow:{workflow}"
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", exif=exif)
    return buffer.getvalue()


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def mp4(texts: dict[str, str]) -> bytes:
    """Metadata by names of one's own, as FFmpeg writes it (`use_metadata_tags`)."""
    keys = b"".join(box(b"mdta", name.encode()) for name in texts)
    values = [
        box(struct.pack(">I", number), box(b"data", b"\0\0\0\1\0\0\0\0", text.encode()))
        for number, text in enumerate(texts.values(), 1)
    ]
    meta = box(
        b"meta", b"\0\0\0\0", box(b"keys", b"\0\0\0\0", struct.pack(">I", len(texts)), keys), box(b"ilst", *values)
    )
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(2000)) + box(b"moov", box(b"udta", meta))


def webm(texts: dict[str, str]) -> bytes:
    tags = b"".join(
        b"\x67\xc8\x80"
        + b"\x45\xa3"
        + bytes([0x80 | len(name)])
        + name.upper().encode()
        + b"\x44\x87"
        + struct.pack(">Q", 1 << 56 | len(text.encode()))
        + text.encode()
        for name, text in texts.items()
    )
    return b"\x1aE\xdf\xa3" + bytes(40) + b"\x12\x54\xc3\x67" + tags


def comments(texts: dict[str, str]) -> bytes:
    every = b"".join(
        struct.pack("<I", len(line)) + line for line in (f"{name}={text}".encode() for name, text in texts.items())
    )
    return struct.pack("<I", 4) + b"Lavf" + struct.pack("<I", len(texts)) + every


def flac(texts: dict[str, str]) -> bytes:
    return b"fLaC\x84" + len(comments(texts)).to_bytes(3) + comments(texts)


def opus(texts: dict[str, str]) -> bytes:
    """The text goes on over several pages."""
    packet, pages = b"OpusTags" + comments(texts), b""
    for begin in range(0, len(packet), 255 * 2):
        part = packet[begin : begin + 255 * 2]
        lacing = b"\xff" * (len(part) // 255) + (bytes([len(part) % 255]) if len(part) % 255 else b"")
        pages += b"OggS" + bytes(22) + bytes([len(lacing)]) + lacing + part
    return pages


def mp3(texts: dict[str, str]) -> bytes:
    frames = b"".join(
        b"TXXX" + struct.pack(">I", len(body)) + b"\0\0" + body
        for body in (b"\3" + name.encode() + b"\0" + text.encode() + b"\0" for name, text in texts.items())
    )
    return b"ID3\4\0\0" + bytes(4) + frames + b"\xff\xfb" + bytes(500)


BOTH = {"prompt": json.dumps(API), "workflow": json.dumps(EDITORS)}


@pytest.mark.parametrize(
    "data",
    [
        png(BOTH),
        png(BOTH, packed=True),
        png(BOTH, international=True),
        png(BOTH, international=True, packed=True),
        png({"prompt": json.dumps(API, ensure_ascii=False), "workflow": json.dumps(EDITORS)}),
        animated_png(BOTH),
        webp(*BOTH.values()),
        mp4(BOTH),
        mp4({"comment": json.dumps(BOTH)}),
        webm(BOTH),
        flac(BOTH),
        opus(BOTH),
        mp3(BOTH),
        json.dumps({"prompt": API, "workflow": EDITORS}).encode(),
        json.dumps({"prompt": API, "extra_data": {"extra_pnginfo": {"workflow": EDITORS}}}).encode(),
    ],
    ids=[
        *(
            "png",
            "zipped png",
            "utf-8 png",
            "zipped utf-8 png",
            "png of old editors",
            "animated png",
            "webp",
            "mp4",
            "mp4 of VHS",
        ),
        *("webm", "flac", "opus", "mp3", "metadata as json", "a request to ComfyUI"),
    ],
)
def test_both_forms_are_found(data: bytes) -> None:
    found = read_workflow(data)
    assert found.api == API
    assert found.editor == EDITORS


@pytest.mark.parametrize("data", [json.dumps(API), "\ufeff  " + json.dumps(API, indent=1)])
def test_api_form_is_read_as_it_is(data: str) -> None:
    assert read_workflow(data.encode()).api == API


def test_what_comfyui_writes_into_nodes_is_left_out() -> None:
    nodes = {key: {**node, "is_changed": [float("nan")]} for key, node in API.items()}
    assert read_workflow(png({"prompt": json.dumps(nodes)})).api == API


def bomb(head: bytes = b'{"', size: int = 50_000_000) -> bytes:
    body = b"prompt\0\0" + zlib.compress(head + b"a" * size)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + bytes(4)
    return containers.PNG + chunk


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no ComfyUI workflow"),
        (b"\x89PNG\r\n\x1a\n", "no ComfyUI workflow"),
        (containers.PNG + b"\xff\xff\xff\xfftEXtprompt\0{", "no ComfyUI workflow"),
        (png({"parameters": "a fox\nSteps: 20"}), "sdwebui"),
        (png({"prompt": "a fox", "Software": "x"}), "no ComfyUI workflow"),
        (b"[]", "no ComfyUI workflow"),
        (b'{"a": 1', "not JSON"),
        (b'{"task": {"content": {}}}', "no ComfyUI workflow"),
        (b'{"a":' * 5000, "nested more than"),
        (b'{"a": [' + b"1," * 300_000 + b"1]}", "values"),
        (png({"prompt": '{"a":' * 5000}), "nested more than"),
        (bomb(), "more than"),
        (containers.PNG + b"\0\0\0\x0bzTXtprompt\0\0abc" + bytes(4), "cannot be read"),
        (mp4({"prompt": '{"a":' * 5000 + "}" * 5000}), "nested more than"),
    ],
)
def test_what_is_no_workflow_or_hostile_is_refused_in_words(data: bytes, says: str) -> None:
    with pytest.raises(WorkflowError, match=says):
        read_workflow(data)


@given(st.binary(max_size=300), st.sampled_from([png, webm, flac, opus, mp3, mp4]), st.data())
def test_no_damage_to_a_file_does_more_than_lose_the_workflow(
    noise: bytes, make: Callable[[dict[str, str]], bytes], data: st.DataObject
) -> None:
    whole = make({"prompt": json.dumps(plain())})
    at = data.draw(st.integers(0, len(whole)))
    try:
        found: Any = read_workflow(whole[:at] + noise + whole[at + len(noise) :]).api
    except WorkflowError:
        return
    assert found is not None
