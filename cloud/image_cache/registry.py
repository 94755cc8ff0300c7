"""Asks a registry which image a tag names just now (OCI Distribution Specification 1.1, HEAD of a manifest)."""

from __future__ import annotations

from typing import Final
from urllib.request import parse_http_list, parse_keqv_list

import httpx

from cloud.image_cache.plan import Image

_KINDS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)

_TIMEOUT: Final = 10
"""Seconds of one question."""

_DOCKER_HUB: Final = {"docker.io": "registry-1.docker.io"}
"""Where a registry answers that has another name in references."""


def digest_of(image: Image) -> str | None:
    """Returns the digest that an image's tag stands for; None when the registry does not say to anybody who asks.

    It is asked without credentials, with a token for anybody where it wants one ("Token Authentication" of Docker's
    registry); none of the operator's goes anywhere.
    """
    # As Docker does: a registry on this machine needs no certificate.
    scheme = "http" if image.host.startswith("127.") else "https"
    url = f"{scheme}://{_DOCKER_HUB.get(image.host, image.host)}/v2/{image.repository}/manifests/{image.tag}"
    try:
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=True, headers={"Accept": _KINDS}) as client:
            answer = client.head(url)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                answer = client.head(url, headers=_authorization(client, answer.headers.get("WWW-Authenticate", "")))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError):
        return None
    return answer.headers.get("Docker-Content-Digest") if answer.is_success else None


def _authorization(client: httpx.Client, challenge: str) -> dict[str, str]:
    """Returns the header for a challenge, with a token that anybody gets; without one if there is none to be had.

    Raises:
        httpx.HTTPError, ValueError, LookupError: the challenge leads nowhere; urllib's reader raises IndexError for
            a value that is missing.
    """
    kind, _, rest = challenge.partition(" ")
    if kind.lower() != "bearer":
        return {}
    asked = parse_keqv_list(parse_http_list(rest))
    answer = client.get(asked.pop("realm"), params=asked)
    if not answer.is_success:
        return {}
    found = answer.json()
    if not isinstance(found, dict):
        return {}
    return {"Authorization": f"Bearer {found.get('token') or found['access_token']}"}
