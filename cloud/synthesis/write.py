"""Synthesizes the CDK app, and renders the charts with the very values that the templates hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cloud.aws import ToolError
from cloud.helm import HelmError, render_text
from contract.config import Config


def write_templates(config: Config, folder: Path, *, account: str, region: str) -> dict[str, dict[str, Any]]:
    """Synthesizes into a folder, and returns the templates by their stack's name.

    Raises:
        ConfigError: config and region do not fit.
        ToolError: the CDK refuses.
    """
    # The runtime of the CDK's core says at each start that its Node is old.
    os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
    from cloud.app import build_app  # noqa: PLC0415 - starts Node
    from cloud.chart_values import ChartValuesError  # noqa: PLC0415

    try:
        assembly = build_app(config, outdir=folder, account=account, region=region).synth()
    except ChartValuesError as error:
        raise ToolError(str(error)) from error
    except RuntimeError as error:  # of jsii
        raise ToolError(f"the CDK refuses: {str(error).strip()[-2000:]}") from error
    # Not whatever lies in the folder: an earlier run may have left another deployment's.
    return {
        stack.stack_name: json.loads(Path(stack.template_full_path).read_text(encoding="utf-8"))
        for stack in assembly.stacks
    }


def write_charts(templates: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Renders each release of our own chart into a file, and returns the files.

    Raises:
        ToolError: Helm refuses the values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    files = []
    for release, namespace, values in own_releases(templates):
        try:
            text = render_text(values, release=release, namespace=namespace)
        except HelmError as error:
            raise ToolError(f"{release}: {error}") from error
        path = folder / f"{release}.yaml"
        path.write_text(text, encoding="utf-8")
        files.append(path)
    return files


def own_releases(templates: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Returns name, namespace and values of each release of the chart that comes with the templates."""
    return [
        (found["Release"], found["Namespace"], json.loads(found["Values"]))
        for template in templates
        for found in (item.get("Properties", {}) for item in template.get("Resources", {}).values())
        # A chart of somebody else comes from a repository.
        if "ChartAssetURL" in found
    ]
