"""Origins (HTML standard, "Origins"): of browser applications that may use the API and read results, and of S3."""

from __future__ import annotations

import re
from typing import Final

ANY: Final = "*"

_ORIGIN: Final = re.compile(r"([a-z][-a-z0-9+.]*)://([-a-z0-9._]+|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII)
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def parse_origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Returns origins as browsers send them.

    Raises:
        ValueError: one is none, or `*` is not alone.
    """
    origins = tuple(dict.fromkeys(_origin(text.strip()) for text in texts if text.strip()))
    if ANY in origins and len(origins) > 1:
        raise ValueError("'*' allows every origin: name it alone, or not at all")
    return origins


def _origin(text: str) -> str:
    if text == ANY:
        return text
    parts = _ORIGIN.fullmatch(text.lower())
    if parts is None:
        raise ValueError(
            f"{text!r} is no origin: give the scheme, the host, and the port if it is not the usual one, without a "
            "path and without a slash at the end, such as https://studio.example or http://localhost:5173"
        )
    scheme, host, port = parts.groups()
    # Browsers leave out the port that is usual for the scheme.
    return f"{scheme}://{host}{'' if port in {None, _USUAL_PORTS.get(scheme)} else port}"


def bucket_origins(bucket: str, region: str) -> list[str]:
    """Returns the origins of links to a bucket on AWS.

    botocore signs those for us-east-1 for the host name without a region. (Amazon S3, "Virtual hosting of buckets")
    """
    ending = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    hosts = [f"s3.{region}.{ending}", *(["s3.amazonaws.com"] if region == "us-east-1" else [])]
    return [f"https://{bucket}.{host}" for host in hosts]
