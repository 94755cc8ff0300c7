"""KEDA: scales each runtime by the length of its queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from constructs import Construct

from cloud import versions
from cloud.constructs.charts import install
from cloud.constructs.cluster import Cluster
from cloud.constructs.pod_identity import PodIdentity, allow

NAMESPACE: Final = "keda"
OPERATOR: Final = "keda-operator"


class Keda(Construct):
    """The operator, which may read how long our queues are, and nothing else."""

    def __init__(self, scope: Construct, construct_id: str, *, cluster: Cluster, queue_arns: Sequence[str]) -> None:
        super().__init__(scope, construct_id)
        identity = PodIdentity(
            self,
            "Operator",
            cluster=cluster.cluster,
            namespace=NAMESPACE,
            service_account=OPERATOR,
            statements=[allow("ReadQueueLengths", ["sqs:GetQueueAttributes"], queue_arns)],
        )
        self.chart = install(
            self,
            versions.KEDA,
            cluster=cluster,
            namespace=NAMESPACE,
            values={"serviceAccount": {"operator": {"name": OPERATOR}}},
        )
        self.chart.node.add_dependency(identity)
