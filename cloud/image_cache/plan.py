"""Says how the snapshot is built: the builder's launch, its commands, and what their answers mean.

The eight steps are those of aws-samples/bottlerocket-images-cache (3370ea0). What differs: images are pulled by
Bottlerocket's own `host-ctr` (bottlerocket-core-kit, sources/host-ctr), which asks ECR with the instance's role, so
that no password is in any command; and the finished snapshot is booted once more, to see that the images are on it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cloud.aws import ToolError

DATA_DEVICE: Final = "/dev/xvdb"
"""Bottlerocket's second volume, where containerd keeps images."""

STACK_TAG: Final = "darkroom:image-cache"
BUILD_TAG: Final = "darkroom:image-cache-build"
IMAGES_TAG: Final = "darkroom:image-cache-images"
VERIFIED_TAG: Final = "darkroom:image-cache-verified"

_REFERENCE: Final = re.compile(
    r"(?P<host>[a-z0-9][-a-z0-9.]*(?::\d+)?)/(?P<repository>[a-z0-9][-a-z0-9._/]*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_ECR: Final = re.compile(r"\d{12}\.dkr\.ecr\.[-a-z0-9]+\.amazonaws\.com(?:\.cn)?", re.ASCII)

_ON_HOST: Final = "apiclient exec admin sheltie"
_SOCKET: Final = "/run/containerd/containerd.sock"
_CTR: Final = f"{_ON_HOST} ctr -a {_SOCKET} -n k8s.io"


@dataclass(frozen=True)
class Image:
    """A container image by its full name; pods must use the very same reference."""

    reference: str
    host: str
    repository: str
    tag: str
    digest: str

    @property
    def in_ecr(self) -> bool:
        """Whether a private ECR registry holds it."""
        return _ECR.fullmatch(self.host) is not None


def parse_image(reference: str) -> Image:
    """Reads an image reference.

    Raises:
        ToolError: it lacks its registry, or both tag and digest.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None or "." not in found["host"]:
        raise ToolError(
            f"{reference!r} is no image that a node could pull: write registry, repository, and digest or tag, "
            "such as docker.io/library/nginx:1.29"
        )
    if not (found["tag"] or found["digest"]):
        raise ToolError(f"{reference!r} names neither tag nor digest")
    return Image(reference, found["host"], found["repository"], found["tag"] or "", found["digest"] or "")


def cache_key(images: Iterable[Image]) -> str:
    """Returns what the snapshots of these very images are tagged with: order and repetition do not matter."""
    text = "\n".join(sorted({image.reference for image in images}))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Builder:
    """The instance that pulls the images."""

    ami: str
    subnet: str
    security_group: str
    instance_profile: str
    """Its name; the role may pull from ECR and be managed by Systems Manager, and nothing else."""
    instance_type: str = "m5.large"
    volume_gib: int = 80


def ami_parameter(kubernetes: str, bottlerocket: str = "latest") -> str:
    """Returns the public SSM parameter that holds the AMI of a Bottlerocket version for a Kubernetes version."""
    return f"/aws/service/bottlerocket/aws-k8s-{kubernetes}/x86_64/{bottlerocket}/image_id"


def launch_request(builder: Builder, *, tags: dict[str, str], token: str, snapshot_id: str = "") -> dict[str, Any]:
    """Returns the arguments of RunInstances.

    Args:
        builder: where and what.
        tags: of instance and volumes, by which cleaning up finds them.
        token: makes a repeated call the same call.
        snapshot_id: to start from; empty: from an empty data volume.
    """
    data: dict[str, Any] = {
        "VolumeSize": builder.volume_gib,
        "VolumeType": "gp3",
        "Iops": 4000,
        "Throughput": 1000,
        "Encrypted": True,
        "DeleteOnTermination": True,
    }
    if snapshot_id:
        data |= {"SnapshotId": snapshot_id}
    tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {
        "ImageId": builder.ami,
        "InstanceType": builder.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": token,
        "IamInstanceProfile": {"Name": builder.instance_profile},
        "NetworkInterfaces": [
            {"DeviceIndex": 0, "SubnetId": builder.subnet, "Groups": [builder.security_group]},
        ],
        # IMDSv2 only; host containers share the host's network, so one hop is enough.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": "[settings.host-containers.admin]\nenabled = true\n",
        "BlockDeviceMappings": [{"DeviceName": DATA_DEVICE, "Ebs": data}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list} for kind in ("instance", "volume")],
    }


def stop_kubelet() -> list[str]:
    """Returns the commands after which nobody removes images any more."""
    return ["set -e", f"{_ON_HOST} systemctl stop kubelet"]


def remove_images() -> list[str]:
    """Returns the commands that leave an empty image store; an empty one is fine."""
    return ["set -e", f'found="$({_CTR} images ls -q)"', f'if [ -n "$found" ]; then {_CTR} images rm --sync $found; fi']


def pull(image: Image) -> list[str]:
    """Returns the commands that pull an image under the name that pods use, known to the kubelet."""
    return [
        "set -e",
        f"{_ON_HOST} host-ctr --containerd-socket {_SOCKET} --namespace k8s.io pull-image "
        f"--source {shlex.quote(image.reference)} --label io.cri-containerd.image=managed",
    ]


def check_images() -> list[str]:
    """Returns the commands that list the images with their completeness."""
    return ["set -e", f"{_CTR} images check"]


def missing_images(images: Iterable[Image], listing: str) -> list[str]:
    """Returns the references that `ctr images check` does not report as complete and unpacked.

    Its columns are REF, TYPE, DIGEST, STATUS such as `complete (7/7)`, SIZE and UNPACKED
    (containerd, cmd/ctr/commands/images/images.go).
    """
    good = set()
    for line in listing.splitlines():
        words = line.split()
        if len(words) >= 5 and "complete" in words and "incomplete" not in words and words[-1] == "true":
            good.add(words[0])
    return [image.reference for image in images if image.reference not in good]
