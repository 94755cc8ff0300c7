"""The snapshot holds the images, and whatever goes wrong, nothing that costs money is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from unittest.mock import Mock

import httpx
import pytest
from aiohttp import web
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import Result

from cloud.aws import Aws, ToolError
from cloud.image_cache import build
from cloud.image_cache.build import build_snapshot, find_snapshot
from cloud.image_cache.images import resolve
from cloud.image_cache.plan import (
    BUILD_TAG,
    STACK_TAG,
    Builder,
    cache_key,
    launch_request,
    missing_images,
    parse_image,
)
from cloud.image_cache.registry import digest_of
from cloud.reporter import Reporter
from tests.cloud.tools.bottlerocket import AMI, Bottlerocket
from tests.cloud.tools.conftest import REGION, Run
from tests.support.proxy import Call, FaultProxy
from tests.support.serving import ThreadedServer

DIGESTS = [f"sha256:{number:064x}" for number in range(4)]
IMAGES = [f"docker.io/library/runtime@{DIGESTS[0]}", f"public.ecr.aws/darkroom/agent@{DIGESTS[1]}"]


@dataclass
class Place:
    """An EC2 that can be made to refuse, a Bottlerocket node, and what builds on them."""

    aws: Aws
    builder: Builder
    ec2: FaultProxy
    node: Bottlerocket
    node_url: str

    def build(self, *references: str) -> str:
        images = [parse_image(reference) for reference in references or IMAGES]
        return build_snapshot(self.aws, self.builder, images, stack="darkroom", report=Reporter())

    def left(self) -> list[str]:
        """Everything that costs money: instances, volumes, snapshots (moto has some of its own)."""
        ec2 = self.aws.client("ec2")
        instances = [
            instance["InstanceId"]
            for reservation in ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
            if instance["State"]["Name"] != "terminated"
        ]
        volumes = [item["VolumeId"] for item in ec2.describe_volumes()["Volumes"]]
        return instances + volumes + self.snapshots()

    def snapshots(self) -> list[str]:
        found = self.aws.client("ec2").describe_snapshots(Filters=[{"Name": "tag-key", "Values": [BUILD_TAG]}])
        return [item["SnapshotId"] for item in found["Snapshots"]]


@pytest.fixture(scope="module")
def shared(moto: str) -> Iterator[Place]:
    """The outputs of the registry stack, with a subnet and a security group that moto has."""
    node = Bottlerocket()
    with FaultProxy(moto) as proxy, node.serve() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", proxy.url)
        environment.setenv("AWS_ENDPOINT_URL_SSM", server.url)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        aws = Aws(REGION)
        for service in ("ssm", "ecr", "cloudformation"):
            aws.client(service)
        aws.client("iam").create_instance_profile(InstanceProfileName="darkroom-builder")
        ec2 = aws.client("ec2")
        builder = Builder(
            ami=AMI,
            subnet=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
            security_group=ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            instance_profile="darkroom-builder",
        )
        yield Place(aws, builder, proxy, node, server.url)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    shared.node.reset()
    yield shared
    shared.ec2.heal()
    shared.ec2.calls.clear()
    for snapshot in shared.snapshots():
        shared.aws.client("ec2").delete_snapshot(SnapshotId=snapshot)


@pytest.fixture
def command(place: Place, run: Run) -> Callable[..., Result]:
    """Calls `python -m cloud image-cache …`."""
    environment = {"AWS_ENDPOINT_URL": place.ec2.url, "AWS_ENDPOINT_URL_SSM": place.node_url}

    def call(*arguments: str) -> Result:
        return run("image-cache", *arguments, **environment)

    return call


@pytest.fixture
def registry(shared: Place) -> None:
    """The registry stack's outputs."""
    outputs = {
        "ImageCacheInstanceProfile": shared.builder.instance_profile,
        "ImageCacheSecurityGroup": shared.builder.security_group,
        "ImageCacheSubnet": shared.builder.subnet,
    }
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    formation = shared.aws.client("cloudformation")
    if not formation.list_stacks()["StackSummaries"]:
        formation.create_stack(StackName="darkroom-registry", TemplateBody=json.dumps(template))


def called(operation: str) -> Callable[[Call], bool]:
    """Matches an operation of EC2."""
    return lambda call: f"Action={operation}&".encode() in call.body + b"&"


def test_a_verified_snapshot_remains_and_nothing_else(place: Place) -> None:
    snapshot = place.build()
    assert place.left() == [snapshot]
    assert [line for line in place.node.commands if "pull-image" in line] == [
        "set -e\napiclient exec admin sheltie host-ctr --containerd-socket /run/containerd/containerd.sock "
        f"--namespace k8s.io pull-image --source {image} --label io.cri-containerd.image=managed"
        for image in IMAGES
    ]
    assert "systemctl stop kubelet" in place.node.commands[0]
    # Once on the builder, once on an instance that was started from the snapshot.
    assert len([line for line in place.node.commands if "images check" in line]) == 2
    launches = [call.body.decode() for call in place.ec2.calls if b"Action=RunInstances" in call.body]
    assert ["SnapshotId=snap-" in launch for launch in launches] == [False, True]


def test_no_credential_is_in_the_history_of_commands(place: Place) -> None:
    place.build()
    history = "\n".join(place.node.commands)
    assert "pull-image" in history
    assert not re.search(r"--u\b|--user|AWS:|password|token|eyJ", history, re.IGNORECASE)


def test_the_instance_is_locked_down_and_its_volume_encrypted(place: Place) -> None:
    asked = launch_request(place.builder, tags={BUILD_TAG: "1"}, token="t")
    assert asked["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert asked["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert asked["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True
    assert {item["ResourceType"] for item in asked["TagSpecifications"]} == {"instance", "volume"}


def test_a_snapshot_whose_mark_is_not_shown_yet_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = Mock(side_effect=lambda key, value: [{"SnapshotId": item} for item in place.snapshots()])
    monkeypatch.setattr(build._Build, "_tagged_unverified", stale)
    snapshot = place.build()
    assert stale.called
    assert place.left() == [snapshot]


def test_a_deployments_own_snapshot_of_the_very_images_is_found_unless_it_is_too_large(place: Place) -> None:
    def find(*references: str, stack: str = "darkroom", most_gib: int = 80) -> str | None:
        images = [parse_image(reference) for reference in references]
        return find_snapshot(place.aws, images, stack=stack, most_gib=most_gib)

    assert find(*IMAGES) is None
    snapshot = place.build()
    assert find(*reversed(IMAGES)) == snapshot
    assert find(IMAGES[0]) is None
    assert find(*IMAGES, f"docker.io/library/other@{DIGESTS[2]}") is None
    assert find(*IMAGES, most_gib=79) is None
    assert find(*IMAGES, stack="another") is None


class Registry:
    """A registry that knows two tags, and wants the token that it gives to everybody."""

    def __init__(self) -> None:
        self.url = ""
        self.is_open = True

    async def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/token", self._token)
        made.router.add_route("HEAD", "/v2/team/runtime/manifests/{tag}", self._manifest)
        return made

    async def _token(self, request: web.Request) -> web.Response:
        assert dict(request.query) == {"service": "registry", "scope": "repository:team/runtime:pull"}
        return web.json_response({"token": "for-everybody"}) if self.is_open else web.Response(status=403)

    async def _manifest(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer for-everybody":
            asked = f'realm="{self.url}/token",service="registry",scope="repository:team/runtime:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": f"Bearer {asked}"})
        assert "application/vnd.oci.image.index.v1+json" in request.headers["Accept"]
        known = {"v1": DIGESTS[0], "latest": DIGESTS[1]}
        tag = request.match_info["tag"]
        return web.Response(headers={"Docker-Content-Digest": known[tag]}) if tag in known else web.Response(status=404)


@pytest.fixture
def elsewhere() -> Iterator[Registry]:
    registry = Registry()
    with ThreadedServer(registry.application) as server:
        registry.url = server.url
        yield registry


def test_a_tag_of_another_registry_is_taken_by_its_digest_so_that_the_snapshot_is_found_again(
    place: Place, command: Callable[..., Result], registry: None, elsewhere: Registry
) -> None:
    name = f"{elsewhere.url.removeprefix('http://')}/team/runtime"
    found = resolve(place.aws, [f"{name}:v1", f"{name}:latest"])
    assert [image.reference for image in found.values()] == [f"{name}@{DIGESTS[0]}", f"{name}@{DIGESTS[1]}"]
    assert command(f"{name}:v1").exit_code == 0
    again = command(f"{name}:v1")
    assert "holds exactly these images already" in again.output
    assert "does not tell" not in again.output


def test_a_tag_that_nobody_explains_keeps_its_snapshot_and_says_so_but_latest_is_refused(
    command: Callable[..., Result], registry: None, elsewhere: Registry
) -> None:
    elsewhere.is_open = False
    name = f"{elsewhere.url.removeprefix('http://')}/team/runtime"
    first, second = command(f"{name}:v1"), command(f"{name}:v1")
    assert first.exit_code == 0, first.output
    assert "should the tag move, nodes keep what is in the snapshot" in first.output
    assert "holds exactly these images already" in second.output
    refused = command(f"{name}:latest")
    assert refused.exit_code == 2
    assert "name its digest, or a tag that does not move" in refused.output


@settings(max_examples=20)
@given(st.binary(max_size=60))
@example(b"realm=")
def test_no_challenge_of_a_registry_is_a_stack_trace(challenge: bytes) -> None:
    answers = [httpx.Response(401, headers={b"WWW-Authenticate": b"Bearer " + challenge}), httpx.Response(401)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "head", Mock(side_effect=answers))
        patch.setattr(httpx.Client, "get", Mock(side_effect=httpx.UnsupportedProtocol("none")))
        assert digest_of(parse_image("registry.example/team/runtime:v1")) is None


@pytest.mark.parametrize(
    "part", ["systemctl stop kubelet", "images rm", "runtime@sha256", "agent@sha256", "images check"]
)
def test_a_command_that_fails_on_the_node_is_quoted_and_leaves_nothing(place: Place, part: str) -> None:
    place.node.fail = lambda sent: part in sent
    with pytest.raises(ToolError, match="the node cannot do that"):
        place.build()
    assert place.left() == []


@pytest.mark.parametrize("operation", ["RunInstances", "StopInstances", "CreateSnapshot", "CreateTags"])
def test_a_refusal_of_ec2_leaves_nothing(place: Place, operation: str) -> None:
    place.ec2.answer(called(operation), status=400)
    with pytest.raises(ClientError, match=operation):
        place.build()
    assert place.left() == []


@pytest.mark.parametrize("operation", ["DescribeInstanceInformation", "SendCommand", "GetCommandInvocation"])
def test_a_refusal_of_systems_manager_leaves_nothing(place: Place, operation: str) -> None:
    place.node.refuse = lambda asked: asked == operation
    with pytest.raises(ClientError, match=operation):
        place.build()
    assert place.left() == []


def test_a_lost_answer_to_the_launch_leaves_no_second_instance(place: Place) -> None:
    place.ec2.lose_answer(called("RunInstances"))
    snapshot = place.build()
    assert place.left() == [snapshot]


def test_images_that_did_not_reach_the_snapshot_are_named_and_it_is_deleted(place: Place) -> None:
    checks = []

    def lose_the_second(command: str) -> None:
        if "images check" in command:
            checks.append(command)
            if len(checks) == 2:
                place.node.store[IMAGES[1]] = "incomplete (5/7)"

    place.node.on_command = lose_the_second
    with pytest.raises(ToolError, match="not complete in the snapshot: public"):
        place.build()
    assert place.left() == []


def test_when_cleaning_up_fails_too_the_tag_to_look_for_is_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.node.fail = lambda sent: "kubelet" in sent
    place.ec2.answer(called("TerminateInstances"), status=400)
    with pytest.raises(ToolError, match="the node cannot do that"):
        place.build()
    assert f"{BUILD_TAG}=" in capsys.readouterr().out
    place.ec2.heal()
    for instance in place.left():
        if instance.startswith("i-"):
            place.aws.client("ec2").terminate_instances(InstanceIds=[instance])


def test_what_a_killed_build_has_left_is_removed_by_the_next(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ec2, tags = place.aws.client("ec2"), [{"Key": key, "Value": "darkroom"} for key in (STACK_TAG, BUILD_TAG)]
    ec2.run_instances(
        ImageId=AMI, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}]
    )
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=20)["VolumeId"]
    specification = [{"ResourceType": "snapshot", "Tags": tags}]
    unfinished = ec2.create_snapshot(VolumeId=volume, TagSpecifications=specification)["SnapshotId"]
    ec2.delete_volume(VolumeId=volume)
    first = place.build()
    assert [item for item in place.left() if item.startswith("i-")], "a young one may be somebody else's"
    assert sorted(place.snapshots()) == sorted([first, unfinished])
    monkeypatch.setattr(build, "_ABANDONED_AFTER", timedelta(0))
    second = place.build()
    assert sorted(place.left()) == sorted([first, second])


def test_the_command_builds_once_and_then_names_what_it_finds(
    command: Callable[..., Result], place: Place, registry: None
) -> None:
    built = command(",".join(IMAGES))
    assert built.exit_code == 0, built.output
    (snapshot,) = place.left()
    assert f"snapshotId: {snapshot}" in built.output
    place.node.commands.clear()
    found = command(*IMAGES)
    assert f"{snapshot} holds exactly these images already" in found.output
    assert place.node.commands == []


def test_ctrl_c_cleans_up(command: Callable[..., Result], place: Place, registry: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build._Build, "stop", Mock(side_effect=KeyboardInterrupt))
        assert command(*IMAGES).exit_code == 130
    assert place.left() == []


def test_a_second_ctrl_c_ends_cleaning_up_and_the_tag_to_look_for_is_named(
    command: Callable[..., Result], registry: None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build._Build, "launch", Mock(side_effect=KeyboardInterrupt))
        patch.setattr(build._Build, "_remove_all", Mock(side_effect=KeyboardInterrupt))
        result = command(*IMAGES)
    assert result.exit_code == 130
    assert f"cleaning up failed too: interrupted; look for instances and snapshots with the tag {BUILD_TAG}=" in (
        result.output
    )


def test_a_dry_run_starts_nothing(command: Callable[..., Result], place: Place) -> None:
    result = command(*IMAGES, "--dry-run")
    assert result.exit_code == 0
    assert "would start a m5.large" in result.output
    assert place.left() == []


def test_images_of_ecr_are_taken_by_the_digest_that_their_tag_has_now(
    command: Callable[..., Result], place: Place
) -> None:
    ecr = place.aws.client("ecr")
    ecr.create_repository(repositoryName="darkroom/agent")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {"digest": DIGESTS[3]}, "layers": []})
    put = ecr.put_image(
        repositoryName="darkroom/agent", imageManifest=manifest, imageManifestMediaType=kind, imageTag="v1"
    )
    digest = put["image"]["imageId"]["imageDigest"]
    host = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    assert f"image: {host}/darkroom/agent@{digest}" in command(f"{host}/darkroom/agent:v1", "--dry-run").output
    missing = command(f"{host}/darkroom/agent:v2", "--dry-run")
    assert missing.exit_code == 2
    assert "push it first" in missing.output


def test_without_the_registry_stack_the_way_out_is_named(command: Callable[..., Result]) -> None:
    result = command(*IMAGES, "--stack", "elsewhere")
    assert result.exit_code == 2
    assert "no stack 'elsewhere-registry'" in result.output
    assert "nox -s deploy" in result.output


def test_what_ctr_reports_is_understood() -> None:
    images = [parse_image(reference) for reference in IMAGES]
    kind = "application/vnd.oci.image.index.v1+json"
    lines = [
        "REF TYPE DIGEST STATUS SIZE UNPACKED",
        f"{IMAGES[0]} {kind} {DIGESTS[0]} complete (12/12) 9.1 GiB/9.1 GiB true",
        f"{IMAGES[1]} {kind} {DIGESTS[1]} incomplete (3/12) 1.1 GiB/9.1 GiB false",
    ]
    assert missing_images(images, "\n".join(lines)) == [IMAGES[1]]
    assert missing_images(images, "\n".join(lines[:2]).replace("true", "false")) == IMAGES
    assert missing_images(images, "") == IMAGES


@given(st.permutations(IMAGES + [f"docker.io/library/x@{digest}" for digest in DIGESTS]))
def test_the_key_of_a_snapshot_depends_on_the_images_alone(order: list[str]) -> None:
    images = [parse_image(reference) for reference in order]
    assert cache_key(images) == cache_key(sorted(images + images[:2], key=lambda image: image.reference))
    assert cache_key(images) != cache_key(images[1:])


@pytest.mark.parametrize("reference", ["nginx", "nginx:1", "docker.io/library/nginx", "docker.io/a b:1", "x;reboot"])
def test_a_reference_that_a_node_could_not_pull_is_refused(reference: str) -> None:
    with pytest.raises(ToolError):
        parse_image(reference)


@given(st.text(max_size=80))
def test_no_text_that_is_accepted_needs_quoting_in_a_shell(text: str) -> None:
    try:
        image = parse_image(f"docker.io/{text}")
    except ToolError:
        return
    assert re.fullmatch(r"[A-Za-z0-9._/:@-]+", image.reference)
