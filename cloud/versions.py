"""Every version that the cloud side pins, each with where it was found; raise them here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "1.35"
"""Karpenter 1.14 takes 1.30 to 1.36 (karpenter.sh, "Compatibility"), KEDA 2.20 is tested on 1.33 to 1.35 (keda.sh,
"Cluster"), and the kubectl layer of the same number is a dependency: the newest that suits all."""

BOTTLEROCKET: Final = "bottlerocket@1.66.0"
"""The nodes' system, by alias (bottlerocket-os/bottlerocket, changelog of September 2026). Pinned, because `@latest`
replaces the nodes with every release."""

COLLECTOR: Final = "public.ecr.aws/aws-observability/aws-otel-collector:v0.49.0"
"""The AWS Distro for OpenTelemetry's collector (aws-observability/aws-otel-collector, July 2026)."""


@dataclass(frozen=True)
class ChartVersion:
    """A Helm chart of somebody else."""

    name: str
    version: str
    repository: str


def oci(name: str, version: str, repository: str) -> ChartVersion:
    """Returns a chart in an OCI registry, whose address names the chart too."""
    return ChartVersion(name, version, f"oci://{repository}/{name}")


KARPENTER_CRD: Final = oci("karpenter-crd", "1.14.1", "public.ecr.aws/karpenter")
KARPENTER: Final = oci("karpenter", "1.14.1", "public.ecr.aws/karpenter")
"""aws/karpenter-provider-aws, tag v1.14.1 of August 2026."""

KEDA: Final = ChartVersion("keda", "2.20.2", "https://kedacore.github.io/charts")
"""kedacore/charts, July 2026."""

LOAD_BALANCER_CONTROLLER: Final = ChartVersion(
    "aws-load-balancer-controller", "3.5.0", "https://aws.github.io/eks-charts"
)
"""aws/eks-charts, August 2026."""
