"""The kind provider's configuration and command lines."""

from __future__ import annotations

import ipaddress
import json
import platform
from typing import Any, Final

NAME: Final = "darkroom"
CONTEXT: Final = f"kind-{NAME}"
NODE_IMAGE: Final = "kindest/node:v1.35.0"
"""In the minor version of `cluster/builds.py`."""
VERSION: Final = "v0.33.0"
"""Of kind, whose module reads the configuration in a test."""

_WAIT: Final = "180s"
_NETWORK: Final = "kind"
_DESKTOP_HOST: Final = "host.docker.internal"
"""How containers reach the machine under Docker Desktop, which runs them in a virtual machine."""


def configuration() -> dict[str, Any]:
    """Returns kind's configuration: one node, whose API server listens on this machine alone."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": NAME,
        "networking": {"apiServerAddress": "127.0.0.1", "podSubnet": "10.244.0.0/16", "serviceSubnet": "10.96.0.0/16"},
        "nodes": [{"role": "control-plane", "image": NODE_IMAGE}],
    }


def create_command() -> tuple[str, ...]:
    """Returns the command that makes the cluster; the configuration is its standard input."""
    return ("kind", "create", "cluster", "--name", NAME, "--config", "-", "--wait", _WAIT)


def delete_command() -> tuple[str, ...]:
    """Returns the command that removes it."""
    return ("kind", "delete", "cluster", "--name", NAME)


def list_command() -> tuple[str, ...]:
    """Returns the command that lists clusters, a name a line."""
    return ("kind", "get", "clusters")


def load_command(*images: str) -> tuple[str, ...]:
    """Returns the command that brings images of this machine's Docker into the cluster."""
    return ("kind", "load", "docker-image", *images, "--name", NAME)


def build_command(dockerfile: str, image: str, root: str) -> tuple[str, ...]:
    """Returns the command that builds an image of this folder."""
    return ("docker", "build", "--file", f"{root}/{dockerfile}", "--tag", image, root)


def network_command() -> tuple[str, ...]:
    """Returns the command that describes kind's network."""
    return ("docker", "network", "inspect", _NETWORK)


def host_address(network: str, system: str = platform.system()) -> str:
    """Returns the address by which pods reach this machine.

    Args:
        network: what `network_command` prints.
        system: of this machine, by `platform.system()`.

    Raises:
        ValueError: the network has no IPv4 gateway.
    """
    if system != "Linux":
        return _DESKTOP_HOST
    for entry in json.loads(network)[0].get("IPAM", {}).get("Config") or ():
        gateway = entry.get("Gateway", "").partition("/")[0]
        try:
            if gateway and ipaddress.ip_address(gateway).version == 4:
                return str(gateway)
        except ValueError:
            continue
    raise ValueError(f"the Docker network {_NETWORK!r} has no IPv4 gateway, by which pods would reach the emulator")
