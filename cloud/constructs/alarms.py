"""The alarms of a deployment: when somebody is to look."""

from __future__ import annotations

import math
from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cloud.constructs.metrics import FIVE_MINUTES, Metrics
from contract.config import Config

SPOT_INTERRUPTIONS_AN_HOUR: Final = 5
"""More says that the instance types are too few, or in short supply."""


class Alarms(Construct):
    """Tasks wait too long, die, fail too often, or do not reach a queue; GPUs idle; spot capacity keeps going."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, metrics: Metrics) -> None:
        super().__init__(scope, construct_id)
        self._config = config
        limits = config.cloud.alarms
        self._topic = self._told(limits.email) if limits.email else None
        above = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
        for queue in metrics.queues:
            self._alarm(
                f"{queue.runtime}-waits",
                queue.oldest,
                limits.oldest_message_seconds,
                above,
                what=f"a task for {queue.runtime} has waited {limits.oldest_message_seconds} seconds",
            )
            # A task that was handed back three times, and that no agent takes any more, has no age anywhere.
            self._alarm(
                f"{queue.runtime}-untaken",
                queue.untaken,
                1,
                above,
                what=f"tasks wait for {queue.runtime}, and no agent has taken one for {limits.oldest_message_seconds} "
                "seconds",
                periods=math.ceil(limits.oldest_message_seconds / FIVE_MINUTES),
            )
            self._alarm(
                f"{queue.runtime}-dead-letters",
                queue.dead,
                1,
                above,
                what=f"{queue.runtime} has dead letters: `nox -s redrive`",
            )
        self._alarm(
            "undelivered",
            metrics.undelivered,
            1,
            above,
            what="SNS cannot deliver tasks to a queue: is it there, and does its policy admit the topic?",
        )
        self._alarm(
            "failed",
            metrics.failed_percent,
            limits.failed_percent,
            above,
            what=f"{limits.failed_percent:g} per cent of the tasks fail",
        )
        self._alarm(
            "gpu-idle",
            metrics.gpu,
            limits.gpu_idle_percent,
            cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            what="GPUs have been paid for and not used for an hour",
            periods=12,
        )
        self._alarm(
            "spot-interruptions",
            metrics.spot_interruptions.with_(period=Duration.hours(1)),
            SPOT_INTERRUPTIONS_AN_HOUR,
            above,
            what="spot instances are reclaimed again and again: allow more instance types",
        )

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        comparison: cloudwatch.ComparisonOperator,
        *,
        what: str,
        periods: int = 1,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self._config.stack_name}-{name}",
            alarm_description=what,
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=periods,
            # No queue, no GPU, no task: nothing is wrong.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        if self._topic is not None:
            alarm.add_alarm_action(actions.SnsAction(self._topic))

    def _told(self, email: str) -> sns.Topic:
        # CloudWatch may not use AWS's own key for SNS, so the topic has one.
        key = kms.Key(
            self,
            "Key",
            description=f"Alarms of {self._config.stack_name}",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        key.grant(iam.ServicePrincipal("cloudwatch.amazonaws.com"), "kms:Decrypt", "kms:GenerateDataKey*")
        topic = sns.Topic(self, "Topic", master_key=key, enforce_ssl=True)
        topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic
