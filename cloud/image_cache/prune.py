"""Deletes the snapshots that a deployment has left behind; what anything still names stays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import Aws, ToolError, describe
from cloud.image_cache import plan
from cloud.image_cache.volumes import data_volumes
from cloud.kubernetes_access import TIMEOUT, api_client, kubeconfig, plain_cluster_errors
from cloud.reporter import Reporter
from contract.config import Config

KEPT: Final = 2
"""The one in use, and the one before: the way back."""


def outdated(snapshots: Iterable[Mapping[str, Any]], named: Collection[str]) -> list[str]:
    """Returns which of a deployment's snapshots (as EC2 describes them) may go: not the newest, none of the named."""
    newest_first = sorted(snapshots, key=lambda item: item["StartTime"], reverse=True)
    return [item["SnapshotId"] for item in newest_first[KEPT:] if item["SnapshotId"] not in named]


def prune(aws: Aws, config: Config, given: Path | None, report: Reporter) -> None:
    """Deletes the outdated image caches of a deployment, unless it cannot be known which its nodes start from.

    Args:
        aws: where they are.
        config: as it was deployed.
        given: the cluster's kubeconfig; None: the stack says how it is reached.
        report: told what goes.
    """
    try:
        found = aws.client("ec2").describe_snapshots(
            OwnerIds=["self"],
            Filters=[
                {"Name": f"tag:{plan.STACK_TAG}", "Values": [config.stack_name]},
                {"Name": f"tag:{plan.VERIFIED_TAG}", "Values": ["true"]},
            ],
        )["Snapshots"]
        if len(found) <= KEPT:
            report.detail(f"{len(found)} are there, and {KEPT} are kept")
            return
        named = {volume.snapshot for volume in data_volumes(config)} | {config.cloud.image_cache.snapshot_id}
        with kubeconfig(aws, config.stack_name, given) as path, plain_cluster_errors():
            named |= _named_by_node_classes(api_client(path))
        for snapshot in outdated(found, named):
            report.say(f"  removing {snapshot}, which nothing starts from any more")
            aws.client("ec2").delete_snapshot(SnapshotId=snapshot)
    except (ToolError, BotoCoreError) as error:
        report.say(f"  note: old snapshots stay: {error}")
    except ClientError as error:
        report.say(f"  note: old snapshots stay: {describe(error)}")


def _named_by_node_classes(client: Any) -> set[str]:
    from kubernetes.client import CustomObjectsApi  # noqa: PLC0415 - see api_client

    found = CustomObjectsApi(client).list_cluster_custom_object(
        "karpenter.k8s.aws", "v1", "ec2nodeclasses", _request_timeout=TIMEOUT
    )
    return {
        mapping["ebs"]["snapshotID"]
        for item in found["items"]
        for mapping in item["spec"].get("blockDeviceMappings", [])
        if mapping.get("ebs", {}).get("snapshotID")
    }
