"""Installs Helm charts of others, by the versions that are pinned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_eks_v2 as eks
from constructs import Construct

from cloud.chart_values import merged
from cloud.constructs.cluster import Cluster
from cloud.versions import ChartVersion
from contract.config import InstalledChart


def install(
    scope: Construct,
    chart: ChartVersion,
    *,
    cluster: Cluster,
    namespace: str,
    values: Mapping[str, Any] | None = None,
    skip_crds: bool = False,
) -> eks.HelmChart:
    """Installs a chart as a release of its own name, and waits until its pods are ready.

    Whence it comes, and its values, the config may say otherwise.
    """
    other = cluster.charts.get(chart.name, InstalledChart())
    release = eks.HelmChart(
        scope,
        chart.name,
        cluster=cluster.cluster,
        release=chart.name,
        chart=chart.name,
        repository=other.repository or chart.repository,
        version=chart.version,
        namespace=namespace,
        create_namespace=namespace != "kube-system",
        values=merged(values or {}, other.values) or None,
        skip_crds=skip_crds,
        wait=True,
        # The Lambda that installs it ends after fifteen minutes.
        timeout=Duration.minutes(14),
    )
    # Its pods need something to run on.
    release.node.add_dependency(cluster.nodes)
    return release
