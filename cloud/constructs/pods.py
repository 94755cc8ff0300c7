"""What our pods have in common: what they may do on their node, their probes, and their way to AWS."""

from __future__ import annotations

from typing import Any, Final

METADATA: Final = "169.254.169.254/32"
POD_IDENTITY_AGENT: Final = "169.254.170.23/32"
"""Where pods get their credentials (EKS user guide, "EKS Pod Identity")."""

CONFINED: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""The `securityContext` of a container."""


def unprivileged(user: int) -> dict[str, Any]:
    """Returns the `securityContext` of a pod that runs as the user of its image."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probe(path: str, port: str, *, period: int, failures: int) -> dict[str, Any]:
    """Returns a probe of an HTTP path at a named port; `period` in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def to_dns() -> dict[str, Any]:
    """Returns the egress rule that lets names be asked for."""
    return {
        "to": [{"namespaceSelector": {}}],
        "ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
    }


def to_aws() -> list[dict[str, Any]]:
    """Returns the egress rules to credentials and to AWS's services.

    These have private addresses where the network has endpoints for them.
    """
    return [
        {"to": [{"ipBlock": {"cidr": POD_IDENTITY_AGENT}}], "ports": [{"port": 80, "protocol": "TCP"}]},
        {
            "to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [METADATA]}}],
            "ports": [{"port": 443, "protocol": "TCP"}],
        },
    ]
