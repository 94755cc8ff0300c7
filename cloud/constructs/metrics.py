"""What is measured of a deployment: queues, tasks, GPUs, spot interruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from contract.topology import Queue, Topology

NAMESPACE: Final = "Darkroom"
FIVE_MINUTES: Final = 300
RUNTIME: Final = "Runtime"
"""The dimension of what is measured of one runtime."""


@dataclass(frozen=True)
class QueueMetrics:
    """What SQS and the agents tell of one runtime's queues."""

    runtime: str
    oldest: cloudwatch.MathExpression
    untaken: cloudwatch.MathExpression
    """1 where messages lay there for the whole period, and nobody has received one."""
    waiting: cloudwatch.Metric
    running: cloudwatch.Metric
    dead: cloudwatch.Metric
    noisy: cloudwatch.Metric
    """Tenants whose messages SQS puts behind those of the others."""
    oldest_quiet: cloudwatch.Metric
    """Seconds that the others wait."""


class Metrics(Construct):
    """The metrics that dashboard and alarms share."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        place: Topology,
        cluster_name: str,
        application_logs: logs.LogGroup,
        spot_rule_name: str,
    ) -> None:
        super().__init__(scope, construct_id)
        ages = self._received_again(application_logs, cluster_name)
        self.queues = [_of_queue(queue, ages, number) for number, queue in enumerate(place.queues)]
        # Counted once for each delivery that SNS gives up (Amazon SNS, "Monitoring topics using CloudWatch").
        self.undelivered = _metric(
            "AWS/SNS", "NumberOfNotificationsFailed", {"TopicName": place.task_topic}, "Sum", "undelivered tasks"
        )
        self.succeeded = self._ended(application_logs, "succeeded", cluster_name)
        self.failed = self._ended(application_logs, "failed", cluster_name)
        self.failed_percent = cloudwatch.MathExpression(
            label="failed, per cent",
            # Of a handful of tasks, one is no share.
            expression="IF(failed + succeeded >= 5, 100 * failed / (failed + succeeded), 0)",
            using_metrics={"failed": self.failed, "succeeded": self.succeeded},
            period=Duration.minutes(10),
        )
        self.gpu = _metric(
            "ContainerInsights", "node_gpu_utilization", {"ClusterName": cluster_name}, "Average", "GPU use, per cent"
        )
        self.nodes = _metric(
            "ContainerInsights", "cluster_node_count", {"ClusterName": cluster_name}, "Maximum", "nodes"
        )
        self.spot_interruptions = _metric(
            "AWS/Events", "TriggeredRules", {"RuleName": spot_rule_name}, "Sum", "spot interruptions"
        )

    def _received_again(self, group: logs.LogGroup, cluster_name: str) -> str:
        """Counts the agents' log lines about tasks that they did not receive for the first time; returns its name."""
        name = f"{cluster_name}-age-received-again"
        logs.MetricFilter(
            self,
            "ReceivedAgain",
            log_group=group,
            filter_pattern=logs.FilterPattern.string_value("$.log_processed.event", "=", "task_received_again"),
            metric_namespace=NAMESPACE,
            metric_name=name,
            metric_value="$.log_processed.age_seconds",
            dimensions={RUNTIME: "$.log_processed.runtime"},
        )
        return name

    def _ended(self, group: logs.LogGroup, status: str, cluster_name: str) -> cloudwatch.Metric:
        """Counts the agents' log lines about tasks that ended so."""
        # Fluent Bit puts a line that is JSON under `log_processed` (Container Insights, "application-log.conf").
        pattern = logs.FilterPattern.all(
            logs.FilterPattern.string_value("$.log_processed.event", "=", "task_ended"),
            logs.FilterPattern.string_value("$.log_processed.status", "=", status),
        )
        name = f"{cluster_name}-{status}"
        logs.MetricFilter(
            self,
            status,
            log_group=group,
            filter_pattern=pattern,
            metric_namespace=NAMESPACE,
            metric_name=name,
            metric_value="1",
            default_value=0,
        )
        return _metric(NAMESPACE, name, {}, "Sum", status)


def _of_queue(queue: Queue, ages: str, number: int) -> QueueMetrics:
    def metric(name: str, of: str, label: str) -> cloudwatch.Metric:
        return _metric("AWS/SQS", name, {"QueueName": of}, "Maximum", f"{queue.runtime} {label}")

    # SQS leaves out what was received three times or more (Amazon SQS, "Available CloudWatch metrics"): tasks that Spot
    # interruptions hand back. Of those, the agents tell.
    # One graph has those of all runtimes, so that the names of their parts differ.
    waiting, again = f"waiting{number}", f"again{number}"
    oldest = cloudwatch.MathExpression(
        label=f"{queue.runtime} oldest, seconds",
        expression=f"MAX([FILL({waiting}, 0), FILL({again}, 0)])",
        using_metrics={
            waiting: metric("ApproximateAgeOfOldestMessage", queue.name, "received less than three times"),
            again: _metric(
                NAMESPACE, ages, {RUNTIME: queue.runtime}, "Maximum", f"{queue.runtime} received again and again"
            ),
        },
        period=Duration.seconds(FIVE_MINUTES),
    )
    return QueueMetrics(
        runtime=queue.runtime,
        oldest=oldest,
        untaken=_untaken(queue),
        waiting=metric("ApproximateNumberOfMessagesVisible", queue.name, "waiting"),
        running=metric("ApproximateNumberOfMessagesNotVisible", queue.name, "in flight"),
        dead=metric("ApproximateNumberOfMessagesVisible", queue.dead_letter_name, "dead letters"),
        # Of fair queues, which ours are where there are tenants (the same page).
        noisy=metric("ApproximateNumberOfNoisyGroups", queue.name, "noisy tenants"),
        oldest_quiet=metric("ApproximateAgeOfOldestMessageInQuietGroups", queue.name, "oldest of the others, seconds"),
    )


def _untaken(queue: Queue) -> cloudwatch.MathExpression:
    """Returns what SQS itself tells, whatever was received how often, and where no agent is up to tell of it."""

    def metric(name: str, statistic: str) -> cloudwatch.Metric:
        return _metric("AWS/SQS", name, {"QueueName": queue.name}, statistic, f"{queue.runtime} {name}")

    return cloudwatch.MathExpression(
        label=f"{queue.runtime} waits, and nobody takes it",
        expression="IF(FILL(there, 0) > 0 AND FILL(taken, 0) == 0, 1, 0)",
        using_metrics={
            "there": metric("ApproximateNumberOfMessagesVisible", "Minimum"),
            "taken": metric("NumberOfMessagesReceived", "Sum"),
        },
        period=Duration.seconds(FIVE_MINUTES),
    )


def _metric(namespace: str, name: str, dimensions: dict[str, str], statistic: str, label: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dimensions,
        statistic=statistic,
        period=Duration.seconds(FIVE_MINUTES),
        label=label,
    )
