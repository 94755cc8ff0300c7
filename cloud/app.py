"""The CDK app; `cdk synth --context config=path/to/config.yaml` in this folder runs it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from aws_cdk import App, Environment, Tags

from cloud import names
from cloud.chart_values import ChartValuesError, old_names
from cloud.stacks.messaging import MessagingStack
from cloud.stacks.network import NetworkStack
from cloud.stacks.registry import RegistryStack
from cloud.stacks.sample import SampleStack
from cloud.stacks.service import ServiceStack
from contract.config import Config, ConfigError, load_config
from contract.topology import topology

CDK_JSON: Final = Path(__file__).with_name("cdk.json")


def build_app(config: Config, *, outdir: Path, account: str, region: str) -> App:
    """Returns the app of a deployment, with the feature flags of `cdk.json`; `synth()` writes it to `outdir`.

    Raises:
        ConfigError: config and region are of different partitions.
        ChartValuesError: the chart does not take a runtime's `extraValues`.
    """
    app = App(outdir=str(outdir), context=feature_flags(), analytics_reporting=False)
    add_stacks(app, config, account=account, region=region)
    return app


def feature_flags() -> dict[str, Any]:
    """Returns the CDK's feature flags, which its CLI reads from `cdk.json` by itself."""
    flags: dict[str, Any] = json.loads(CDK_JSON.read_text(encoding="utf-8"))["context"]
    return flags


def add_stacks(app: App, config: Config, *, account: str, region: str) -> None:
    """Puts the stacks of a deployment into an app.

    Raises:
        ConfigError: config and region are of different partitions.
        ChartValuesError: the chart does not take a runtime's `extraValues`.
    """
    names.check_partition(config, region)
    env = Environment(account=account, region=region)
    place = topology(config, region=region, account=account)
    vpc = NetworkStack(app, names.network_stack(config), env=env, config=config).network.vpc
    RegistryStack(app, names.registry_stack(config), env=env, config=config, vpc=vpc)
    messaging = MessagingStack(app, names.messaging_stack(config), env=env, config=config, place=place)
    service = ServiceStack(
        app, names.main_stack(config), env=env, config=config, place=place, vpc=vpc, cdn=messaging.cdn
    )
    # It names topics, queues and bucket as the contract does, so that the CDK does not see that it needs them.
    service.add_stack_dependency(messaging)
    if config.cloud.sample.enabled:
        SampleStack(
            app,
            names.sample_stack(config),
            env=env,
            config=config,
            place=place,
            vpc=vpc,
            api_url=service.url,
            cdn=messaging.cdn,
        )
    for key, value in {names.DEPLOYMENT_TAG: config.stack_name, **config.cloud.tags}.items():
        Tags.of(app).add(key, value)


def main() -> int:
    """Synthesizes into the folder that the CDK's CLI names, and returns the exit status."""
    app = App(context=feature_flags(), analytics_reporting=False)
    path = Path(app.node.try_get_context("config") or "config.yaml")
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    if not account or not region:
        sys.stderr.write("error: CDK_DEFAULT_ACCOUNT and CDK_DEFAULT_REGION are not set; the CDK's CLI sets them\n")
        return 1
    try:
        config = load_config(path)
        add_stacks(app, config, account=account, region=region)
    except (ConfigError, ChartValuesError) as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in str(error).splitlines()))
        return 1
    sys.stderr.write("".join(f"warning: {line}\n" for line in old_names(config)))
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
