"""Every version that the cloud side pins, each with where it was found; raise them here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "1.36"
"""Karpenter takes it since 1.13 (karpenter.sh, "Compatibility"), KEDA 2.21 is tested on 1.34 to 1.36 (keda.sh,
"Cluster"), Bottlerocket has it since 1.61, and the kubectl layer of the same number is a dependency."""

BOTTLEROCKET: Final = "bottlerocket@1.66.0"
"""The nodes' system, by alias (bottlerocket-os/bottlerocket, changelog of September 2026). Pinned, because `@latest`
replaces the nodes with every release."""

COLLECTOR: Final = "public.ecr.aws/aws-observability/aws-otel-collector:v0.50.0"
"""The AWS Distro for OpenTelemetry's collector (aws-observability/aws-otel-collector, August 2026)."""


@dataclass(frozen=True)
class ChartVersion:
    """A Helm chart of somebody else."""

    name: str
    version: str
    repository: str


def oci(name: str, version: str, repository: str) -> ChartVersion:
    """Returns a chart in an OCI registry, whose address names the chart too."""
    return ChartVersion(name, version, f"oci://{repository}/{name}")


KARPENTER_CRD: Final = oci("karpenter-crd", "1.15.2", "public.ecr.aws/karpenter")
KARPENTER: Final = oci("karpenter", "1.15.2", "public.ecr.aws/karpenter")
"""aws/karpenter-provider-aws, tag v1.15.2 of November 2026. It calls of AWS what v1.14 does (pkg/aws/sdk.go), and
`RebootInstances` for an alpha feature that is off: the policy is that of v1.14.1."""

KEDA: Final = ChartVersion("keda", "2.21.0", "https://kedacore.github.io/charts")
"""kedacore/charts, September 2026."""

LOAD_BALANCER_CONTROLLER: Final = ChartVersion(
    "aws-load-balancer-controller", "3.5.0", "https://aws.github.io/eks-charts"
)
"""aws/eks-charts, August 2026."""
