"""TLS to a Kubernetes API server, whose own authority need not follow every rule of RFC 5280."""

from __future__ import annotations

import ssl
from typing import Any

from urllib3.util import create_urllib3_context


def cluster_context(authority: str) -> ssl.SSLContext:
    """Returns a context that trusts one authority alone, as clusters make theirs.

    Python 3.13 asks for what RFC 5280 asks of authorities (`ssl.VERIFY_X509_STRICT`): key identifiers, key usage. Those
    of clusters may lack them, EKS's among others. Signature, dates, chain and name are checked as ever.

    Args:
        authority: path of its certificate (PEM).

    Raises:
        OSError, ssl.SSLError: it cannot be read.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def relax_client(api: Any) -> None:
    """Lets a client of the package `kubernetes` do the same.

    Args:
        api: a `kubernetes.client.ApiClient` that has made no call yet.
    """
    required = ssl.CERT_REQUIRED if api.configuration.verify_ssl else ssl.CERT_NONE
    context = create_urllib3_context(cert_reqs=required)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # The pool itself loads the authority and the client's certificate into it.
    api.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
