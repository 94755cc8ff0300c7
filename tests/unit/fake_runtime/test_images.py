"""Pictures: the same request, the same bytes; cheap; and no input is too strange."""

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fake_runtime import images, media
from tests.unit.fake_runtime.support import decode, encode


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.text(), st.text())
def test_equal_recipes_give_equal_bytes(width: int, height: int, recipe: str, caption: str) -> None:
    def draw() -> bytes:
        return images.encode_png(images.render(width, height, recipe, caption), {"parameters": caption})

    data = draw()
    assert data == draw()
    assert decode(images.to_base64(data)).size == (width, height)


def test_other_recipes_and_captions_give_other_pictures() -> None:
    data = {images.render(64, 64, recipe, caption).tobytes() for recipe in "ab" for caption in ("one", "two")}
    assert len(data) == 4


def test_the_prompt_is_written_on_the_picture() -> None:
    blank, written = images.render(256, 256, "x", ""), images.render(256, 256, "x", "a dog")
    assert blank.crop((0, 40, 256, 256)).tobytes() == written.crop((0, 40, 256, 256)).tobytes()
    assert (255, 255, 255) in {color for _, color in written.getcolors(1 << 16) or []}


def test_a_512_pixel_image_costs_little() -> None:
    images.encode_png(images.render(512, 512, "warm", "up"))
    spent = []
    for number in range(10):
        begin = time.thread_time()
        images.encode_png(images.render(512, 512, str(number), "a dog in the garden"), {"parameters": "a dog"})
        spent.append(time.thread_time() - begin)
    assert min(spent) < 0.015


@settings(max_examples=50, deadline=None)
@given(st.text() | st.binary().map(images.to_base64))
def test_what_is_no_image_is_refused(text: str) -> None:
    with pytest.raises(images.InvalidImageError):
        images.from_base64(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_broken_images_are_refused_or_read(position: int, garbage: bytes) -> None:
    data = images.encode_png(Image.new("RGB", (8, 8), "red"), {"parameters": "x"})
    broken = data[:position] + garbage + data[position + len(garbage) :]
    with suppress(images.InvalidImageError):
        images.from_base64(images.to_base64(broken))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_images_are_read_with_and_without_a_data_url(kind: str) -> None:
    text = encode(Image.new("RGB", (8, 4), "red"), kind)
    for given_text in (text, f"data:image/{kind.lower()};base64,{text}"):
        assert images.from_base64(given_text).size == (8, 4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert images.rgb(Image.new(mode, (4, 4))).mode == "RGB"


FRAMES = [Image.new("RGB", (16, 16), color) for color in ("red", "green", "blue")]


@pytest.mark.parametrize(
    ("data", "signature", "offset"),
    [
        (media.animated(FRAMES, "GIF", 8), b"GIF89a", 0),
        (media.animated(FRAMES, "WEBP", 8), b"WEBP", 8),
        (media.animated(FRAMES, "PNG", 8), b"\x89PNG\r\n\x1a\n", 0),
        (media.mp4([b"frame"], 8), b"ftypisom", 4),
        (media.flac(1.5), b"fLaC", 0),
    ],
)
def test_media_have_their_true_signatures(data: bytes, signature: bytes, offset: int) -> None:
    assert data[offset : offset + len(signature)] == signature


def test_boxes_of_an_mp4_fill_it_exactly() -> None:
    data, offset, names = media.mp4([b"one", b"two"], 8), 0, []
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        names.append(data[offset + 4 : offset + 8])
        assert size >= 8
        offset += size
    assert offset == len(data)
    assert names == [b"ftyp", b"moov", b"mdat"]


def test_a_flac_states_its_length() -> None:
    stream_info = media.flac(2.0)[8:]
    assert len(stream_info) == 34
    packed = int.from_bytes(stream_info[10:18], "big")
    assert packed >> 44 == 44_100
    assert packed & 0xFFFFFFFFF == 88_200
