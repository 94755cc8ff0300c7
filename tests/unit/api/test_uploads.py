"""An uploaded file is stored under a name of ours, and with a type by which no browser runs it."""

from __future__ import annotations

import pytest

from api.errors import ApiError
from api.uploads import ending, stored_type


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("image/png", "image/png"),
        ("Image/JPEG; q=1", "image/jpeg"),
        ("model/gltf-binary", "model/gltf-binary"),
        ("application/zip", "application/octet-stream"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("image/png\r\nx: y", "application/octet-stream"),
    ],
)
def test_media_keep_their_type_and_anything_else_is_bytes(sent: str, stored: str) -> None:
    assert stored_type(sent) == stored


@pytest.mark.parametrize(
    "sent", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_what_a_page_of_another_site_can_send_unasked_is_refused_with_the_way_out(sent: str) -> None:
    with pytest.raises(ApiError, match="--data-binary"):
        stored_type(sent)


@pytest.mark.parametrize(
    ("name", "content_type", "expected"),
    [
        (None, "image/png", ".png"),
        (None, "application/octet-stream", ""),
        ("scene.GLB", "application/octet-stream", ".glb"),
        ("../../etc/passwd", "image/png", ""),
        ("a.b/c", "image/png", ""),
        ("photo.jpeg?x=.exe/..", "image/png", ""),
    ],
)
def test_of_a_name_the_ending_counts_alone(name: str | None, content_type: str, expected: str) -> None:
    assert ending(name, content_type) == expected
