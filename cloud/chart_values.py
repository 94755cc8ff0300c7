"""Makes the values of one runtime's Helm release of config.yaml and of what the stacks have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contract.config import Config, RuntimeConfig

type Values = dict[str, Any]


class ChartValuesError(Exception):
    """Values that the chart does not take; one line for each: `modelsRuntime.N.extraValues.path.to.key: …`."""


@dataclass(frozen=True)
class Placement:
    """What config.yaml does not know about a release, because the stacks make it. Strings may be CDK tokens."""

    region: str
    partition: str
    """`aws`, `aws-cn` or `aws-us-gov`."""
    cluster_name: str
    queue_url: str
    dead_letter_url: str
    callback_topic_arn: str
    output_bucket: str
    agent_image: str
    """`repository:tag` or `repository@sha256:…`, as for the next."""
    runtime_image: str
    node_role: str
    """Name (not ARN) of the role that Karpenter gives its nodes."""
    model_bucket: str = ""
    """Empty: the models are not in S3, see `storage_class`."""
    storage_class: str = ""
    """StorageClass of the models' volume when it is EFS; empty: S3."""
    snapshot_id: str = ""
    """EBS snapshot with the images; empty: none."""
    otlp_endpoint: str = ""
    """Where the agent's traces go, such as http://collector.ns:4318; empty: no tracing."""
    subnet_tags: Mapping[str, str] = field(default_factory=dict)
    """Which subnets get nodes; empty: `karpenter.sh/discovery` = the cluster's name. The next likewise."""
    security_group_tags: Mapping[str, str] = field(default_factory=dict)


def service_account_name(runtime: RuntimeConfig) -> str:
    """Returns the service account that a runtime's pods run as, for its Pod Identity association."""
    return runtime.name


def release_values(config: Config, runtime: RuntimeConfig, placement: Placement) -> Values:
    """Returns the values of a runtime's release: its `extraValues`, and what the stacks have made.

    The chart's own defaults are left to Helm; the merge of all three has been checked against the chart's schema.

    Raises:
        ChartValuesError: the chart does not take a key or value, or the stacks set that key.
    """
    raise NotImplementedError


def old_names(config: Config) -> list[str]:
    """Returns one line for each key of `extraValues` that has another name today, with the new one."""
    raise NotImplementedError
