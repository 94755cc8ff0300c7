"""The runtimes: for each, an identity that reaches its own queue only, and a release of the chart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as assets
from constructs import Construct, IDependable

from cloud import names
from cloud.chart_values import placement, release_values, service_account_name
from cloud.constructs.pod_identity import PodIdentity, allow
from cloud.constructs.results import agent_access
from contract.config import Config, ModelStorage, RuntimeConfig
from contract.topology import Topology

CHART: Final = Path(__file__).parents[1] / "chart"


@dataclass(frozen=True)
class Surroundings:
    """What every release stands on."""

    cluster: eks.ICluster
    traces: str
    """The collector's OTLP endpoint."""
    ready: tuple[IDependable, ...]
    """What must be there first: KEDA's and Karpenter's kinds, and the models' driver."""


class Runtimes(Construct):
    """All runtimes of a config."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, place: Topology, surroundings: Surroundings
    ) -> None:
        super().__init__(scope, construct_id)
        chart = assets.Asset(self, "Chart", path=str(CHART))
        for runtime in config.runtimes:
            identity = PodIdentity(
                self,
                # With a dot, which no runtime's name has: there may be one called `sd-identity` beside `sd`.
                f"{runtime.name}.identity",
                cluster=surroundings.cluster,
                namespace=runtime.namespace,
                service_account=service_account_name(runtime),
                statements=agent_statements(config, runtime, place),
            )
            source = other_chart(runtime)
            release = eks.HelmChart(
                self,
                runtime.name,
                cluster=surroundings.cluster,
                release=runtime.name,
                namespace=runtime.namespace,
                create_namespace=runtime.namespace != "default",
                chart_asset=chart if source is None else None,
                chart=None if source is None else source.chart,
                repository=None if source is None else source.repository,
                version=None if source is None else source.version,
                values=release_values(config, runtime, placement(config, runtime, place, traces=surroundings.traces)),
                timeout=Duration.minutes(14),
            )
            release.node.add_dependency(identity, *surroundings.ready)


@dataclass(frozen=True)
class OtherChart:
    """A chart that a runtime is released from instead of ours."""

    repository: str
    version: str | None
    """None: the newest."""
    chart: str


def other_chart(runtime: RuntimeConfig) -> OtherChart | None:
    """Returns the chart that the config names; None: ours."""
    if not runtime.chart_repository:
        return None
    repository = runtime.chart_repository
    # The address of a chart in an OCI registry ends with its name.
    named = runtime.chart_name or names.CHART
    chart = repository.rpartition("/")[2] if repository.startswith("oci://") else named
    return OtherChart(repository, runtime.chart_version or None, chart)


def agent_statements(config: Config, runtime: RuntimeConfig, place: Topology) -> list[iam.PolicyStatement]:
    """Returns what a runtime's pods may do: take tasks, read inputs, store results, call back, read models."""
    queue = place.queue(runtime.name)
    statements = [
        allow(
            "TakeTasks",
            [
                f"sqs:{action}"
                for action in (
                    *("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"),
                    *("GetQueueAttributes", "GetQueueUrl"),
                )
            ],
            [place.queue_arn(queue.name)],
        ),
        allow("SetAside", ["sqs:SendMessage"], [place.queue_arn(queue.dead_letter_name)]),
        allow("CallBack", ["sns:Publish"], [place.callback_topic_arn]),
        *agent_access(place),
    ]
    if runtime.outputs.signing_secret_arn:
        statements.append(allow("ReadSigner", ["secretsmanager:GetSecretValue"], [runtime.outputs.signing_secret_arn]))
    if config.cloud.webhooks:
        statements.append(allow("TellOfRuns", ["sqs:SendMessage"], [place.queue_arn(place.webhooks)]))
    if config.cloud.input_buckets:
        objects = [f"arn:{place.partition}:s3:::{bucket}/*" for bucket in config.cloud.input_buckets]
        statements.append(allow("ReadInputs", ["s3:GetObject"], objects))
    if config.cloud.model_storage is ModelStorage.S3:
        owner = config.cloud.model_bucket_owner or place.account
        statements += [
            allow("ListModels", ["s3:ListBucket"], [place.model_bucket_arn], owner=owner),
            allow("ReadModels", ["s3:GetObject"], [f"{place.model_bucket_arn}/*"], owner=owner),
        ]
    return statements
