"""The dashboard of a deployment: where to look."""

from __future__ import annotations

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cloud.constructs.metrics import Metrics
from contract.config import Config


class Dashboard(Construct):
    """One page: is it working, who waits, what does it cost."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, metrics: Metrics, api: apigateway.RestApi
    ) -> None:
        super().__init__(scope, construct_id)
        queues = metrics.queues

        def graph(title: str, left: list[cloudwatch.IMetric], *, width: int = 8) -> cloudwatch.GraphWidget:
            return cloudwatch.GraphWidget(title=title, left=left, width=width)

        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=config.stack_name,
            widgets=[
                [
                    graph("Waiting", [queue.waiting for queue in queues]),
                    graph("In flight", [queue.running for queue in queues]),
                    graph("Age of the oldest task", [queue.oldest for queue in queues]),
                ],
                [
                    graph("Tasks ended", [metrics.succeeded, metrics.failed]),
                    graph("Failed share", [metrics.failed_percent]),
                    graph("Dead letters and undelivered", [*(queue.dead for queue in queues), metrics.undelivered]),
                ],
                [
                    graph("Noisy tenants", [queue.noisy for queue in queues], width=12),
                    graph("Age of the oldest task of the others", [queue.oldest_quiet for queue in queues], width=12),
                ],
                [
                    graph("GPU use", [metrics.gpu]),
                    graph("Nodes", [metrics.nodes]),
                    graph("Spot interruptions in this account and region", [metrics.spot_interruptions]),
                ],
                [
                    graph("Requests", [api.metric_count()]),
                    graph("Refused and failed requests", [api.metric_client_error(), api.metric_server_error()]),
                    graph("Latency", [api.metric_latency(statistic="p95"), api.metric_latency(statistic="p50")]),
                ],
            ],
        )
