"""Builds the snapshot: launch, pull, stop, snapshot, boot it once more to verify, and always clean up."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cloud.aws import Aws, ToolError, code_of, describe
from cloud.image_cache import plan
from cloud.image_cache.plan import Builder, Image
from cloud.reporter import Reporter
from cloud.waiting import wait_until

_ONLINE_WITHIN: Final = 600.0
_PULL_WITHIN: Final = 3600.0
_COMMAND_WITHIN: Final = 300.0
_SNAPSHOT_WITHIN: Final = 3600.0
_ENDED_WITHIN: Final = 600.0
_ABANDONED_AFTER: Final = timedelta(hours=3)
"""No build takes so long: an instance that is older was left by one that was killed."""

_NOT_TERMINATED: Final = ["pending", "running", "shutting-down", "stopping", "stopped"]


def find_snapshot(aws: Aws, images: list[Image], *, stack: str, most_gib: int) -> str | None:
    """Returns the newest finished and verified snapshot of exactly these images, or None.

    Only the deployment's own is found, for another's goes with it; and none that is too large for the nodes' volumes.
    """
    found = aws.client("ec2").describe_snapshots(
        OwnerIds=["self"],
        Filters=[
            {"Name": f"tag:{plan.STACK_TAG}", "Values": [stack]},
            {"Name": f"tag:{plan.IMAGES_TAG}", "Values": [plan.cache_key(images)]},
            {"Name": f"tag:{plan.VERIFIED_TAG}", "Values": ["true"]},
            {"Name": "status", "Values": ["completed"]},
        ],
    )["Snapshots"]
    fitting = [item for item in found if item["VolumeSize"] <= most_gib]
    newest = max(fitting, key=lambda item: item["StartTime"], default=None)
    return None if newest is None else str(newest["SnapshotId"])


def build_snapshot(aws: Aws, builder: Builder, images: list[Image], *, stack: str, report: Reporter) -> str:
    """Returns the id of a new, verified snapshot of these images.

    Whatever happens, no instance and no volume is left, and no snapshot that was not verified.

    Raises:
        ToolError: a step failed; the text says which, and quotes the node.
        botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach or refuses.
    """
    work = _Build(aws, builder, stack=stack, report=report)
    work.remove_abandoned()
    with work.cleaned_up():
        instance = work.launch()
        work.run(instance, "stopping the kubelet", plan.stop_kubelet())
        work.run(instance, "emptying the image store", plan.remove_images())
        for image in images:
            work.run(instance, f"pulling {image.reference}", plan.pull(image), within=_PULL_WITHIN)
        work.check(instance, images, where="on the builder")
        work.stop(instance)
        snapshot = work.snapshot(instance, images)
        work.terminate(instance)
        second = work.launch(snapshot_id=snapshot)
        work.check(second, images, where="in the snapshot")
        work.keep(snapshot)
    return snapshot


@dataclass
class _Build:
    """One build, and what it has made so far."""

    aws: Aws
    builder: Builder
    stack: str
    report: Reporter
    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    _instances: set[str] = field(default_factory=set)
    _snapshots: set[str] = field(default_factory=set)
    _kept: set[str] = field(default_factory=set)

    @property
    def _ec2(self) -> Any:
        return self.aws.client("ec2")

    @property
    def _ssm(self) -> Any:
        return self.aws.client("ssm")

    @property
    def _tags(self) -> dict[str, str]:
        name = f"{self.stack} image cache"
        return {"Name": name, plan.STACK_TAG: self.stack, plan.BUILD_TAG: self.identity}

    def launch(self, *, snapshot_id: str = "") -> str:
        """Starts an instance, and returns its id once Systems Manager reaches it."""
        purpose = "verify the snapshot" if snapshot_id else "pull the images"
        with self.report.step(f"starting a {self.builder.instance_type} to {purpose}"):
            token = f"{self.identity}-{'verify' if snapshot_id else 'build'}"
            request = plan.launch_request(self.builder, tags=self._tags, token=token, snapshot_id=snapshot_id)
            instance = str(self._ec2.run_instances(**request)["Instances"][0]["InstanceId"])
            self._instances.add(instance)
            wait_until(lambda: self._online(instance), what=f"{instance} at Systems Manager", within=_ONLINE_WITHIN)
        return instance

    def _online(self, instance: str) -> bool | None:
        state = self._state(instance)
        if state not in {"pending", "running"}:
            raise ToolError(f"the instance {instance} is {state} instead of running; is the AMI right for its type?")
        found = self._ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [instance]}])
        return True if any(item["PingStatus"] == "Online" for item in found["InstanceInformationList"]) else None

    def run(self, instance: str, title: str, commands: list[str], *, within: float = _COMMAND_WITHIN) -> str:
        """Runs commands on the node, and returns what they printed.

        Raises:
            ToolError: they failed; quotes the end of what they said.
        """
        with self.report.step(title):
            sent = self._ssm.send_command(
                InstanceIds=[instance],
                DocumentName="AWS-RunShellScript",
                Parameters={"commands": commands, "executionTimeout": [str(int(within))]},
                TimeoutSeconds=60,
                Comment=title[:100],
            )["Command"]["CommandId"]
            answer = wait_until(lambda: self._ended(sent, instance), what=f"the end of {title}", within=within + 60)
        if answer["Status"] != "Success":
            said = (answer.get("StandardErrorContent") or answer.get("StandardOutputContent") or "").strip()
            raise ToolError(f"{title} failed ({answer['Status']}): {said[-600:] or 'it said nothing'}")
        return str(answer.get("StandardOutputContent", ""))

    def _ended(self, command: str, instance: str) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = self._ssm.get_command_invocation(CommandId=command, InstanceId=instance)
        except ClientError as error:
            if code_of(error) == "InvocationDoesNotExist":  # not there yet
                return None
            raise
        return None if answer["Status"] in {"Pending", "InProgress", "Delayed"} else answer

    def check(self, instance: str, images: list[Image], *, where: str) -> None:
        """Makes sure that every image is complete and unpacked.

        Raises:
            ToolError: names those that are not.
        """
        listing = self.run(instance, f"checking the images {where}", plan.check_images())
        if missing := plan.missing_images(images, listing):
            raise ToolError(f"not complete {where}: {', '.join(missing)}")

    def stop(self, instance: str) -> None:
        """Stops the instance, so that its volume is at rest."""
        with self.report.step("stopping the instance"):
            self._ec2.stop_instances(InstanceIds=[instance])
            wait_until(
                lambda: True if self._state(instance) == "stopped" else None,
                what=f"the stop of {instance}",
                within=_ENDED_WITHIN,
            )

    def snapshot(self, instance: str, images: list[Image]) -> str:
        """Returns the id of a finished snapshot of the data volume."""
        tags = {**self._tags, plan.IMAGES_TAG: plan.cache_key(images)}
        with self.report.step("taking the snapshot"):
            created = self._ec2.create_snapshot(
                VolumeId=self._data_volume(instance),
                Description=", ".join(image.reference for image in images)[:255],
                TagSpecifications=[
                    {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": item} for key, item in tags.items()]}
                ],
            )
            snapshot = str(created["SnapshotId"])
            self._snapshots.add(snapshot)
            wait_until(lambda: self._finished(snapshot), what=f"the snapshot {snapshot}", within=_SNAPSHOT_WITHIN)
        return snapshot

    def _finished(self, snapshot: str) -> bool | None:
        found = self._ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        if found["State"] == "error":
            raise ToolError(f"the snapshot {snapshot} failed: {found.get('StateMessage', 'EBS gives no reason')}")
        if found["State"] == "completed":
            return True
        self.report.detail(f"snapshot {snapshot}: {found.get('Progress', '0%')}")
        return None

    def _data_volume(self, instance: str) -> str:
        found = self._ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        for mapping in found["BlockDeviceMappings"]:
            if mapping["DeviceName"] == plan.DATA_DEVICE:
                return str(mapping["Ebs"]["VolumeId"])
        raise ToolError(
            f"the instance {instance} has no volume {plan.DATA_DEVICE}; is {self.builder.ami} Bottlerocket?"
        )

    def keep(self, snapshot: str) -> None:
        """Marks the snapshot as good, so that it is kept and found again."""
        self._ec2.create_tags(Resources=[snapshot], Tags=[{"Key": plan.VERIFIED_TAG, "Value": "true"}])
        self._snapshots.discard(snapshot)
        self._kept.add(snapshot)

    @contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Removes everything but a snapshot that was kept, however the block ends."""
        try:
            yield
        except BaseException as error:
            try:
                self._remove_all()
            except (BotoCoreError, ClientError, ToolError, KeyboardInterrupt) as trouble:
                reason = describe(trouble) or "interrupted"
                self.report.say(
                    f"cleaning up failed too: {reason}; look for instances and snapshots with the tag "
                    f"{plan.BUILD_TAG}={self.identity} and remove them"
                )
                raise error from trouble
            raise
        self._remove_all()

    def _remove_all(self) -> None:
        known = self._instances | {item["InstanceId"] for item in self._tagged_instances(plan.BUILD_TAG, self.identity)}
        with self.report.step("cleaning up"):
            for instance in known:
                self.terminate(instance)
            for snapshot in self._unverified():
                self._ec2.delete_snapshot(SnapshotId=snapshot)

    def _unverified(self) -> set[str]:
        # By tag too: an answer that was lost may have made one that nobody here has heard of. But what was kept a
        # moment ago may yet be shown without its mark: EC2 is eventually consistent.
        found = self._tagged_unverified(plan.BUILD_TAG, self.identity)
        return ({item["SnapshotId"] for item in found} | self._snapshots) - self._kept

    def _tagged_unverified(self, key: str, value: str) -> list[dict[str, Any]]:
        found = self._ec2.describe_snapshots(
            OwnerIds=["self"],
            Filters=[{"Name": f"tag:{key}", "Values": [value]}, {"Name": "tag-key", "Values": [plan.BUILD_TAG]}],
        )["Snapshots"]
        return [item for item in found if plan.VERIFIED_TAG not in {tag["Key"] for tag in item.get("Tags", [])}]

    def terminate(self, instance: str) -> None:
        """Ends an instance; its volumes go with it."""
        self._ec2.terminate_instances(InstanceIds=[instance])
        wait_until(
            lambda: True if self._state(instance) == "terminated" else None,
            what=f"the end of {instance}",
            within=_ENDED_WITHIN,
        )
        self._instances.discard(instance)

    def _state(self, instance: str) -> str:
        try:
            found = self._ec2.describe_instances(InstanceIds=[instance])["Reservations"]
        except ClientError as error:
            if code_of(error) == "InvalidInstanceID.NotFound":  # EC2 is eventually consistent
                return "pending"
            raise
        return str(found[0]["Instances"][0]["State"]["Name"]) if found else "terminated"

    def _tagged_instances(self, key: str, value: str) -> list[dict[str, Any]]:
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[
                {"Name": f"tag:{key}", "Values": [value]},
                {"Name": "instance-state-name", "Values": _NOT_TERMINATED},
            ]
        )
        return [item for page in pages for reservation in page["Reservations"] for item in reservation["Instances"]]

    def remove_abandoned(self) -> None:
        """Ends builders of this deployment that a killed process has left running, and deletes its snapshots."""
        for item in self._tagged_instances(plan.STACK_TAG, self.stack):
            if datetime.now(UTC) - item["LaunchTime"] > _ABANDONED_AFTER:
                with self.report.step(f"removing {item['InstanceId']}, which an earlier build has left"):
                    self.terminate(item["InstanceId"])
        for item in self._tagged_unverified(plan.STACK_TAG, self.stack):
            if datetime.now(UTC) - item["StartTime"] > _ABANDONED_AFTER:
                with self.report.step(f"removing {item['SnapshotId']}, which an earlier build has left"):
                    self._ec2.delete_snapshot(SnapshotId=item["SnapshotId"])
