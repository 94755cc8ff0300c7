"""Takes a deployment away: first the GPU nodes, then the stacks; what was not asked for stays, and is named."""

from __future__ import annotations

from contextlib import suppress
from itertools import batched
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cloud import names
from cloud.aws import Aws, ToolError, describe
from cloud.canary.state import parameter
from cloud.image_cache.plan import STACK_TAG
from cloud.kubernetes_access import TIMEOUT, api_client, kubeconfig, plain_cluster_errors
from cloud.outputs import find_stack
from cloud.reporter import Reporter
from cloud.waiting import wait_until
from contract.config import Config
from contract.topology import topology

_AWS_KINDS: Final = "karpenter.k8s.aws"
"""The API group of what Karpenter knows about AWS."""

_NODES_WITHIN: Final = 900.0
_CLASSES_WITHIN: Final = 300.0
_INSTANCES_WITHIN: Final = 600.0
_STACK_WITHIN: Final = 3600.0
_NOT_ENDED: Final = ["pending", "running", "shutting-down", "stopping", "stopped"]


def stacks_of(config: Config) -> list[str]:
    """Returns the stacks of a deployment in the order in which they can be deleted; the first is not always there."""
    return [
        names.sample_stack(config),
        names.main_stack(config),
        names.messaging_stack(config),
        names.registry_stack(config),
        names.network_stack(config),
    ]


def waiting_tasks(aws: Aws, config: Config) -> int:
    """Returns how many tasks would be lost with the queues."""
    sqs, found = aws.client("sqs"), 0
    for name in topology(config, region=aws.region, account=aws.account).queue_names:
        with suppress(sqs.exceptions.QueueDoesNotExist):
            found += messages(sqs, sqs.get_queue_url(QueueName=name)["QueueUrl"])
    return found


def messages(sqs: Any, url: str) -> int:
    """Returns how many messages a queue has, seen or not."""
    keys = [f"ApproximateNumberOfMessages{part}" for part in ("", "NotVisible", "Delayed")]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=keys)["Attributes"].values()))


def snapshots_of(aws: Aws, config: Config) -> list[str]:
    """Returns the image caches that were built for a deployment."""
    found = aws.client("ec2").describe_snapshots(
        OwnerIds=["self"], Filters=[{"Name": f"tag:{STACK_TAG}", "Values": [config.stack_name]}]
    )["Snapshots"]
    return [item["SnapshotId"] for item in found]


def remove_nodes(aws: Aws, config: Config, given: Path | None, report: Reporter) -> None:
    """Lets Karpenter end its nodes while it still runs; CloudFormation knows nothing of them.

    What cannot be reached is said, not raised: `end_instances` looks again after the cluster is gone.
    """
    try:
        with kubeconfig(aws, config.stack_name, given) as path, plain_cluster_errors():
            _delete_node_kinds(api_client(path), report)
    except (ToolError, BotoCoreError) as error:
        report.say(f"  note: not all of Karpenter's nodes are gone: {error}")
    except ClientError as error:
        report.say(f"  note: not all of Karpenter's nodes are gone: {describe(error)}")


def _delete_node_kinds(client: Any, report: Reporter) -> None:
    from kubernetes.client import CustomObjectsApi  # noqa: PLC0415 - see api_client

    objects = CustomObjectsApi(client)

    def listed(kind: str, group: str = "karpenter.sh") -> list[str]:
        found = objects.list_cluster_custom_object(group, "v1", kind, _request_timeout=TIMEOUT)
        return [item["metadata"]["name"] for item in found["items"]]

    def gone(kind: str, group: str = "karpenter.sh") -> bool | None:
        left = listed(kind, group)
        if left:
            report.detail(f"{kind} that are left: {', '.join(left)}")
        return None if left else True

    for name in listed("nodepools"):
        objects.delete_cluster_custom_object("karpenter.sh", "v1", "nodepools", name, _request_timeout=TIMEOUT)
    wait_until(lambda: gone("nodeclaims"), what="the end of all GPU nodes", within=_NODES_WITHIN)
    # Only Karpenter deletes the instance profile that it has made of a class; one that stays holds the nodes' role.
    for name in listed("ec2nodeclasses", _AWS_KINDS):
        objects.delete_cluster_custom_object(_AWS_KINDS, "v1", "ec2nodeclasses", name, _request_timeout=TIMEOUT)
    wait_until(
        lambda: gone("ec2nodeclasses", _AWS_KINDS),
        what="the end of all EC2NodeClasses (their instance profiles may stay, with the tag "
        "karpenter.k8s.aws/ec2nodeclass: remove them if a stack cannot be deleted because of its role)",
        within=_CLASSES_WITHIN,
    )


def delete_stack(aws: Aws, name: str, report: Reporter) -> None:
    """Deletes a stack, and waits for its end; one that is not there is no error.

    Raises:
        ToolError: a resource cannot be deleted; names it, with CloudFormation's reason.
    """
    stack = find_stack(aws, name)
    if stack is None:
        report.detail(f"{name} is not there")
        return
    # By its id: a deleted stack cannot be asked about by its name.
    identity, formation = stack["StackId"], aws.client("cloudformation")
    formation.delete_stack(StackName=identity)

    def ended() -> str | None:
        found = find_stack(aws, identity)
        status = found["StackStatus"] if found else "DELETE_COMPLETE"
        return None if status.endswith("_IN_PROGRESS") else str(status)

    if wait_until(ended, what=f"the end of the stack {name}", within=_STACK_WITHIN) != "DELETE_COMPLETE":
        raise ToolError(f"the stack {name} cannot be deleted: {_reason(formation, identity)}")


def _reason(formation: Any, stack: str) -> str:
    events = formation.describe_stack_events(StackName=stack)["StackEvents"]
    for event in events:
        if event["ResourceStatus"] == "DELETE_FAILED" and event["LogicalResourceId"] != event.get("StackName"):
            return f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
    return "CloudFormation gives no reason"


def end_instances(aws: Aws, config: Config, report: Reporter) -> None:
    """Ends instances that Karpenter had started and could not end: without their cluster they would run on for ever.

    Raises:
        ToolError: one does not end.
    """
    ec2 = aws.client("ec2")
    filters = [
        {"Name": f"tag:kubernetes.io/cluster/{config.stack_name}", "Values": ["owned"]},
        {"Name": "tag-key", "Values": ["karpenter.sh/nodepool"]},
        {"Name": "instance-state-name", "Values": _NOT_ENDED},
    ]

    def left() -> list[str]:
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
        return [item["InstanceId"] for page in pages for found in page["Reservations"] for item in found["Instances"]]

    if not (found := left()):
        return
    with report.step(f"ending nodes that were left: {', '.join(found)}"):
        ec2.terminate_instances(InstanceIds=found)
        wait_until(lambda: None if left() else True, what="the end of these nodes", within=_INSTANCES_WITHIN)


def forget_canaries(aws: Aws, config: Config) -> None:
    """Deletes the parameters in which the canaries' states were kept."""
    found = [parameter(config.stack_name, runtime.name) for runtime in config.runtimes]
    for some in batched(found, 10, strict=False):  # as many as one call takes
        aws.client("ssm").delete_parameters(Names=list(some))
