"""Asks SQS and Kubernetes how a deployment stands; either may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import Aws, ToolError, describe
from cloud.kubernetes_access import TIMEOUT, api_client, kubeconfig, plain_cluster_errors
from cloud.status.state import Cluster, QueueDepth, RuntimeState, nodes_of, replicas_of, unscaled_of
from contract.config import Config
from contract.topology import topology


def runtimes(aws: Aws, config: Config) -> list[RuntimeState]:
    """Returns a row for each runtime of the config.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: SQS is out of reach or refuses.
    """
    place = topology(config, region=aws.region, account=aws.account)
    rows = []
    for queue in place.queues:
        depth, dead = _depth(aws, queue.name), _depth(aws, queue.dead_letter_name)
        runtime = config.runtime(queue.runtime)
        rows.append(
            RuntimeState(
                name=queue.runtime,
                type=str(runtime.type) if runtime else "",
                queue=depth,
                dead_letters=None if dead is None else dead.waiting + dead.in_flight + dead.delayed,
            )
        )
    return rows


def undelivered(aws: Aws, config: Config) -> int:
    """Returns how many tasks SNS could not deliver to their queues, and wait to be sent again.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: SQS is out of reach or refuses.
    """
    found = _depth(aws, topology(config, region=aws.region, account=aws.account).undelivered)
    return found.waiting + found.in_flight + found.delayed if found else 0


def _depth(aws: Aws, name: str) -> QueueDepth | None:
    sqs = aws.client("sqs")
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        return None
    keys = [f"ApproximateNumberOfMessages{part}" for part in ("", "NotVisible", "Delayed")]
    found: Mapping[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=keys)["Attributes"]
    return QueueDepth(*(int(found.get(key, 0)) for key in keys))


def cluster(aws: Aws, config: Config, given: Path | None) -> Cluster:
    """Returns what Kubernetes says; when it cannot be asked, why."""
    try:
        with kubeconfig(aws, config.stack_name, given) as path, plain_cluster_errors():
            return _ask(api_client(path), config.stack_name)
    except ClientError as error:
        return Cluster(trouble=describe(error))
    except (ToolError, BotoCoreError) as error:
        return Cluster(trouble=str(error))


def _ask(client: Any, stack: str) -> Cluster:
    from kubernetes.client import ApiException, AppsV1Api, CoreV1Api, CustomObjectsApi  # noqa: PLC0415 - see api_client

    selector = f"app.kubernetes.io/part-of={stack},app.kubernetes.io/component=runtime"
    deployments = AppsV1Api(client).list_deployment_for_all_namespaces(
        label_selector=selector, _request_timeout=TIMEOUT
    )
    nodes = CoreV1Api(client).list_node(label_selector="karpenter.sh/nodepool", _request_timeout=TIMEOUT)
    plain = client.sanitize_for_serialization
    try:
        scaled = CustomObjectsApi(client).list_cluster_custom_object(
            *("keda.sh", "v1alpha1", "scaledobjects"),
            label_selector=f"app.kubernetes.io/part-of={stack}",
            _request_timeout=TIMEOUT,
        )["items"]
    except ApiException as error:
        if error.status != 404:  # there is no KEDA
            raise
        scaled = []
    return Cluster(
        replicas=replicas_of(plain(item) for item in deployments.items),
        nodes=nodes_of(plain(item) for item in nodes.items),
        unscaled=unscaled_of(scaled),
    )
