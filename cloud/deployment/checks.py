"""The checks before anything is made: tools, account, region, quotas."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from botocore.exceptions import ClientError

from cloud import names, shell
from cloud.aws import Aws, ToolError, code_of
from cloud.deployment import quotas
from cloud.deployment.images import builds, load_compose
from cloud.deployment.removal import messages
from cloud.deployment.settings import with_entrance
from cloud.deployment.steps import Work
from cloud.image_cache.volumes import cache_gib, data_volumes, size_fault
from cloud.outputs import find_stack
from cloud.synthesis.cost import fixed_of
from cloud.synthesis.write import write_templates
from contract.prices import bill, fixed_usage, load_prices, total
from contract.topology import partition_of, topology

ADDRESS_URL: Final = "https://checkip.amazonaws.com"
"""AWS's own: answers with the address that a request comes from."""

_OFFERED_PER_CALL = 100
_NO_SNAPSHOT = frozenset({"InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed"})


def check_tools(work: Work) -> None:
    """Looks for the programs that the other steps start.

    Raises:
        ToolError: names what is missing, and where to get it.
    """
    if work.skip_tools:
        work.report.detail("skipped")
        return
    places = {
        "npx": "comes with the environment of `uvx nox -s deploy`, or with Node.js 22 (https://nodejs.org)",
        "docker": "https://docs.docker.com/engine/install, or name all images in cloud.images of the config",
    }
    needed = ["npx", *(["docker"] if builds(work.config, load_compose()) else [])]
    if absent := shell.missing(needed):
        raise ToolError("; ".join(f"{program} is not on the PATH: {places[program]}" for program in absent))


def check_account(work: Work) -> None:
    """Asks who we are, and whether the config means this partition.

    Raises:
        ToolError: the config's ARNs are of another partition.
        botocore.exceptions.BotoCoreError, ClientError: there are no valid credentials.
    """
    identity = work.aws.client("sts").get_caller_identity()
    partition = identity["Arn"].split(":")[1]
    work.report.detail(f"account {identity['Account']} as {identity['Arn'].rpartition('/')[2]} in {work.aws.region}")
    if partition != (work.config.partition or partition_of(work.aws.region)):
        named = work.config.model_bucket
        raise ToolError(
            f"these credentials are for the partition {partition}, but "
            + (
                f"modelBucketArn is in {work.config.partition}; write arn:{partition}:s3:::{named}"
                if named
                else f"the region {work.aws.region} is in another one; choose another --region"
            )
        )
    names.check_partition(work.config, work.aws.region)


def find_entrance(work: Work) -> None:
    """Lets this machine reach the cluster's Kubernetes API, which `status`, `canary` and `destroy` ask from here.

    Nobody else outside the network may, unless the config says who.

    Raises:
        ToolError: this machine's public address is not to be found out.
    """
    if work.config.cloud.public_access_cidrs is None:
        work.config = with_entrance(work.config, [f"{_own_address()}/32"])
    allowed = ", ".join(work.config.cloud.public_access_cidrs or ()) or "nobody outside the network"
    work.report.detail(f"the cluster's Kubernetes API lets in {allowed}")


def _own_address() -> IPv4Address:
    try:
        answer = httpx.get(ADDRESS_URL, timeout=10, follow_redirects=False)
        answer.raise_for_status()
        return IPv4Address(answer.text.strip())
    except (httpx.HTTPError, ValueError) as error:
        raise ToolError(
            f"{ADDRESS_URL} does not tell this machine's public address ({error}); say who may reach the cluster's "
            "Kubernetes API: --allow 203.0.113.7/32, or cloud.publicAccessCidrs in the config ([]: nobody outside)"
        ) from error


def check_room(work: Work) -> None:
    """Judges the region's instance types and the account's GPU quotas.

    Raises:
        ToolError: no GPU could ever start.
    """
    wanted = quotas.demands(work.config)
    kinds = sorted({kind for demand in wanted for kind in demand.instance_types})
    found = quotas.judge(
        wanted,
        vcpus=_vcpus(work.aws, kinds),
        quotas={code: _quota(work.aws, code) for code in (quotas.SPOT, quotas.ON_DEMAND)},
        region=work.aws.region,
    )
    for warning in found.warnings:
        work.report.say(f"  note: {warning}")
    if found.errors:
        raise ToolError("\n".join(found.errors))


def check_snapshots(work: Work) -> None:
    """Looks for the snapshots that the config names, and whether the nodes' volumes are large enough for them.

    Raises:
        ToolError: no node could start.
    """
    faults = []
    for volume in data_volumes(work.config):
        if volume.snapshot:
            size = _snapshot_gib(work.aws, volume.snapshot)
            faults.append(
                f"{volume.runtime}: there is no snapshot {volume.snapshot} in {work.aws.region}; take it out of the "
                "config, and one is made"
                if size is None
                else size_fault(volume, size)
            )
    if any(faults):
        raise ToolError("\n".join(filter(None, faults)))


def check_queues(work: Work) -> None:
    """Looks whether runtimes that the config no longer has leave tasks behind: their queues would go with them.

    Raises:
        ToolError: names the queues, and how many tasks are in each.
    """
    stack = names.messaging_stack(work.config)
    if find_stack(work.aws, stack) is None:
        return
    place = topology(work.config, region=work.aws.region, account=work.aws.account)
    kept = set(place.queue_names)
    sqs, left = work.aws.client("sqs"), []
    for page in work.aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack):
        for item in page["StackResourceSummaries"]:
            url = str(item.get("PhysicalResourceId", ""))
            if item["ResourceType"] != "AWS::SQS::Queue" or url.rpartition("/")[2] in {"", *kept}:
                continue
            with suppress(sqs.exceptions.QueueDoesNotExist):
                if tasks := messages(sqs, url):
                    left.append(f"{url.rpartition('/')[2]} has {tasks}")
    if left:
        raise ToolError(
            f"tasks would be lost with the queues of runtimes that the config no longer has: {', '.join(left)}; "
            "keep a runtime until its tasks are done, `redrive` what is in a dead-letter queue, or purge what nobody "
            "needs (aws sqs purge-queue)"
        )


def check_templates(work: Work) -> None:
    """Synthesizes the templates, and counts what they keep running all month.

    Raises:
        ConfigError, ToolError: the CDK or the chart refuses what the config says.
    """
    with TemporaryDirectory(prefix="darkroom-") as folder:
        templates = write_templates(work.config, Path(folder), account=work.aws.account, region=work.aws.region)
    prices = load_prices()
    fixed = total(bill(fixed_usage(fixed_of(templates.values(), snapshot_gib=cache_gib(work.config))), prices))
    work.report.say(
        f"  note: it costs ${fixed} a month when nobody asks for an image (prices of {prices.region}); GPUs, requests, "
        "traffic, logs and storage come on top"
    )


def _snapshot_gib(aws: Aws, snapshot: str) -> int | None:
    try:
        found = aws.client("ec2").describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    except ClientError as error:
        if code_of(error) not in _NO_SNAPSHOT:
            raise
        return None
    return int(found[0]["VolumeSize"])


def _vcpus(aws: Aws, kinds: list[str]) -> dict[str, int]:
    """Returns the vCPUs of those instance types that the region offers."""
    ec2 = aws.client("ec2")
    offered = {
        item["InstanceType"]
        for page in ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="region", Filters=[{"Name": "instance-type", "Values": kinds[:_OFFERED_PER_CALL]}]
        )
        for item in page["InstanceTypeOfferings"]
    }
    if not offered:
        return {}
    described = ec2.describe_instance_types(InstanceTypes=sorted(offered))["InstanceTypes"]
    return {item["InstanceType"]: int(item["VCpuInfo"]["DefaultVCpus"]) for item in described}


def _quota(aws: Aws, code: str) -> float | None:
    try:
        answer = aws.client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
    except ClientError:
        # Not every operator may read them; that is no reason to stop.
        return None
    return float(answer["Quota"]["Value"])
