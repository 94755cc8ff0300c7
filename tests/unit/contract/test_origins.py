"""Origins of browser applications are taken as browsers send them, and what is none is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.session import Session

from contract.origins import bucket_origins, parse_origins


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://studio.example", "https://studio.example"),
        (" HTTPS://Studio.Example:443 ", "https://studio.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("*", "*"),
    ],
)
def test_an_origin_is_what_a_browser_sends(text: str, origin: str) -> None:
    assert parse_origins((text, "", text)) == (origin,)


@pytest.mark.parametrize(
    "text", ["studio.example", "https://studio.example/", "null", "https://*.example", "https://a b"]
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no origin: give the scheme"):
        parse_origins((text,))


def test_every_origin_is_allowed_alone() -> None:
    with pytest.raises(ValueError, match="name it alone"):
        parse_origins(("*", "https://studio.example"))


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "cn-north-1"])
def test_links_to_a_bucket_have_one_of_its_origins(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)  # an emulator that another test relies on is not meant
    session = Session()
    session.set_credentials("key", "secret")
    client: Any = session.create_client(
        "s3", region_name=region, config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    )
    parts = urlsplit(
        client.generate_presigned_url(
            "upload_part", Params={"Bucket": "studio-results", "Key": "a", "UploadId": "b", "PartNumber": 1}
        )
    )
    assert f"{parts.scheme}://{parts.netloc}" in bucket_origins("studio-results", region)
