"""A deployment that breaks off at any step is finished by the same command, and nothing is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest
import yaml
from aiohttp import web
from typer.testing import Result

from cloud import helm
from cloud.aws import Aws, ToolError
from cloud.canary.state import CanaryState, Phase
from cloud.chart_values import placement, release_values
from cloud.deployment import checks, making
from cloud.deployment.existing import bucket_place
from cloud.deployment.images import builds, load_compose
from cloud.deployment.limits import ADDRESSES, BALANCERS, FARGATE, GATEWAYS, STANDARD, VPCS, Need, faults
from cloud.deployment.pipeline import steps
from cloud.deployment.quotas import ON_DEMAND, SPOT, Demand, demands, judge
from cloud.deployment.settings import Wishes, image_values, resolve, with_canaries, with_digests, with_images, write
from cloud.deployment.steps import Work, carry_out
from cloud.deployment.zones import choose, keep
from cloud.image_cache.images import images_of, own_image
from cloud.names import split_image
from cloud.reporter import Reporter
from contract.config import ConfigError, RuntimeConfig, Sample, load_config, parse_config
from contract.task import RuntimeType
from contract.topology import topology
from tests.cloud.synthesis import ROOT
from tests.cloud.tools.bottlerocket import Bottlerocket
from tests.cloud.tools.conftest import Run, client
from tests.cloud.tools.fake_tools import FakeTools, fake_tools
from tests.support.processes import http
from tests.support.serving import ThreadedServer
from tests.support.web import picture

ACCOUNT = "123456789012"
HOST = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
TOPIC = {"Type": "AWS::SNS::Topic"}
KIND = "application/vnd.oci.image.manifest.v1+json"


class FakeService:
    """The deployed API, as far as the smoke test sees it, and the Service Quotas."""

    quota = 64.0
    """For G and VT instances, on demand and Spot."""
    quotas: ClassVar[dict[str, float]] = {STANDARD.code: 64, ADDRESSES.code: 5, VPCS.code: 5, GATEWAYS.code: 5}
    """As a new account has them, but for the first."""
    broken = ""
    address = "203.0.113.7\n"

    def __init__(self) -> None:
        self.url = ""

    async def application(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/prod/v1/runtimes", self._runtimes)
        made.router.add_post("/prod/{api}", self._submit)
        made.router.add_get("/prod/v1/tasks/{id}", self._task)
        made.router.add_get("/picture.png", self._picture)
        made.router.add_get("/address", self._address)
        made.router.add_post("/", self._quota)
        made.router.add_head("/{bucket}", self._bucket)
        return made

    async def _runtimes(self, request: web.Request) -> web.Response:
        runtime = {"name": "sdruntime", "type": "comfyui", "dynamic_model": False, "model": None}
        return web.json_response({"runtimes": [runtime]})

    async def _submit(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _task(self, request: web.Request) -> web.Response:
        image = {"url": f"{self.url}/picture.png", "s3": "s3://output/a/a-abcd-1.png"}
        status = self.broken or "succeeded"
        return web.json_response({"status": status, "images": [image], "error": {"message": "no GPU came"}})

    async def _picture(self, request: web.Request) -> web.Response:
        return web.Response(body=picture(), content_type="image/png")

    async def _address(self, request: web.Request) -> web.Response:
        return web.Response(text=self.address)

    async def _bucket(self, request: web.Request) -> web.Response:
        """S3, as far as it says whose a bucket is."""
        return web.Response(status=403 if request.match_info["bucket"].endswith("-of-somebody") else 404)

    async def _quota(self, request: web.Request) -> web.Response:
        code = json.loads(await request.text())["QuotaCode"]
        value = self.quota if code in {SPOT, ON_DEMAND} else self.quotas.get(code, 10_000.0)
        return web.json_response({"Quota": {"Value": value}}, content_type="application/x-amz-json-1.1")


@dataclass
class Place:
    """An account in emulators, and the command line in front of it."""

    run: Run
    endpoint: str
    tools: FakeTools
    node: Bottlerocket
    service: FakeService
    folder: Path
    environment: dict[str, str]

    def deploy(self, *arguments: str) -> Result:
        return self.run(
            *("deploy", "--config", str(ROOT / "config.yaml"), "--state", str(self.folder / "state")),
            *("-n", "blue", "-r", "sdruntime", "-t", "comfyui", *arguments),
            **self.environment,
        )

    def resolved(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.folder / "state/blue-us-east-1/config.yaml").read_text())
        return found

    def act(self, argv: list[str]) -> str:
        """Does what docker and npx would do."""
        if "deploy" in argv:
            # What the CLI says (2.1148.1) of a change that replaces something, such as another stage name.
            assert "--yes" in argv[3:], "Change includes a replacement, but terminal (TTY) is not attached"
        match argv:
            case ["docker", "image", "inspect", *_, image]:
                return f"sha256:{image.encode().hex():0<64}"
            case ["docker", "push", image]:
                self._push(image.removeprefix(f"{HOST}/"))
            case ["npx", "--yes", _, "bootstrap", *_]:
                self._stack("CDKToolkit")
            case ["npx", "--yes", _, "deploy", "--all", *_]:
                self._stack(
                    "blue",
                    FrontApiEndpoint=f"{self.service.url}/prod/",
                    GetAPIKeyCommand="aws apigateway get-api-keys --query 'items[?id==`Key`].value'",
                )
            case ["npx", "--yes", _, "deploy", *_]:
                self._registry()
        return ""

    def _push(self, image: str) -> None:
        repository, _, tag = image.rpartition(":")
        manifest = {"schemaVersion": 2, "mediaType": KIND, "config": {"digest": tag}, "layers": []}
        client("ecr", self.endpoint).put_image(
            repositoryName=repository, imageManifest=json.dumps(manifest), imageManifestMediaType=KIND, imageTag=tag
        )

    def _registry(self) -> None:
        ec2, ecr = client("ec2", self.endpoint), client("ecr", self.endpoint)
        if ecr.describe_repositories()["repositories"]:
            return
        for holds in ("api", "agent", "comfyui", "sdwebui"):
            ecr.create_repository(repositoryName=f"blue/{holds}")
        client("iam", self.endpoint).create_instance_profile(InstanceProfileName="builder")
        self._stack(
            "blue-registry",
            ImageCacheInstanceProfile="builder",
            ImageCacheSecurityGroup=ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
            ImageCacheSubnet=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        )

    def _stack(self, name: str, **outputs: str) -> None:
        formation = client("cloudformation", self.endpoint)
        if name in {item["StackName"] for item in formation.list_stacks()["StackSummaries"]}:
            return
        template = {"Resources": {"Topic": TOPIC}, "Outputs": {key: {"Value": value} for key, value in outputs.items()}}
        if name == "blue":
            key = client("apigateway", self.endpoint).create_api_key(value="a-key-of-twenty-characters")["id"]
            text = json.dumps(template).replace("`Key`", f"`{key}`")
        else:
            text = json.dumps(template)
        formation.create_stack(StackName=name, TemplateBody=text)


@pytest.fixture
def place(run: Run, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    node, service, programs = Bottlerocket(), FakeService(), tmp_path / "bin"
    programs.mkdir()
    with (
        node.serve() as systems_manager,
        ThreadedServer(service.application) as server,
        fake_tools(programs) as tools,
    ):
        service.url = server.url
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        monkeypatch.chdir(tmp_path)
        environment = {
            "AWS_ENDPOINT_URL": moto,
            "AWS_ENDPOINT_URL_SSM": systems_manager.url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": server.url,
        }
        monkeypatch.setattr(checks, "ADDRESS_URL", f"{server.url}/address")
        made = Place(run, moto, tools, node, service, tmp_path, environment)
        tools.act = made.act
        yield made


@pytest.mark.timeout(300)
def test_it_goes_on_wherever_it_was_broken_off_and_makes_nothing_twice(place: Place) -> None:
    place.service.quota = 0.0
    assert "no GPU can start" in _broken(place)
    place.service.quota = 64.0
    for part, quoted in [
        (" bootstrap ", "checking"),
        (" deploy blue-network ", "deploying network"),
        ("compose --file", "building and pushing"),
        ("docker push", "building and pushing"),
    ]:
        _fail_on(place, part)
        output = _broken(place)
        assert "the tool is broken today" in output, output
        assert quoted in output
        assert "run the same command again" in output
    place.tools.act = place.act
    _fail_on(place, " deploy --all ")
    assert "the tool is broken today" in _broken(place)
    place.tools.act = place.act
    place.service.broken = "failed"
    assert "no GPU came" in _broken(place)
    place.service.broken = ""
    place.node.fail = lambda command: "pull-image" in command
    assert "the node cannot do that" in _broken(place)
    place.node.fail = lambda command: False

    place._stack("blue-sample")
    tried = canary(Phase.RUNNING, image=f"{HOST}/blue/comfyui:next")
    place.node.parameters["/darkroom/blue/canary/sdruntime"] = tried.model_dump_json()
    result = place.deploy()
    assert result.exit_code == 0, result.output
    assert "an earlier run stopped at image-cache" in result.output
    stacks = client("cloudformation", place.endpoint).list_stacks()["StackSummaries"]
    (sample,) = [item["StackStatus"] for item in stacks if item["StackName"] == "blue-sample"]
    assert sample == "DELETE_COMPLETE", "the config has no sample application any more"
    assert f"FrontApiEndpoint = {place.service.url}/prod/" in result.output
    assert len(place.tools.called(" bootstrap ")) == 2, "once broken, once done"
    pushes = place.tools.called("docker push")
    assert len(pushes) == 4, "one was broken, then each image once"
    assert len([line for line in place.node.commands if "pull-image" in line]) == 1 + 2, "the snapshot was found again"
    assert len(client("ec2", place.endpoint).describe_snapshots(OwnerIds=[ACCOUNT])["Snapshots"]) >= 1
    assert f"the canary of sdruntime goes on, 30 % with {HOST}/blue/comfyui:next" in result.output
    found = place.resolved()
    assert found["stackName"] == "blue"
    assert found["cloud"]["publicAccessCidrs"] == ["203.0.113.7/32"], "who deploys, and nobody else"
    assert found["modelsRuntime"][0]["extraValues"]["runtime"]["canary"]["percent"] == 30
    assert found["cloud"]["imageCache"]["snapshotId"].startswith("snap-")
    for reference in (found["cloud"]["images"]["api"], found["cloud"]["images"]["runtimes"]["comfyui"]):
        assert reference.startswith(f"{HOST}/blue/")
        assert "@sha256:" in reference
    assert _released(found) == {
        f"{HOST}/blue/{holds}": client("ecr", place.endpoint).describe_images(repositoryName=f"blue/{holds}")[
            "imageDetails"
        ][0]["imageDigest"]
        for holds in ("agent", "comfyui")
    }, "what Compose built and push reported is what the chart runs"
    # The password goes through standard input, and Docker forgets it.
    assert place.tools.said
    assert not [call for call in place.tools.calls if place.tools.said[0] in call]
    assert len(place.tools.called("docker logout")) == len(place.tools.called("docker login"))
    assert "npx --yes aws-cdk@2." in place.tools.calls[0]


def _released(document: dict[str, Any]) -> dict[str, str]:
    """Returns the digests that the releases of a resolved config run, by repository."""
    config = parse_config(yaml.safe_dump(document))
    place = topology(config, region="us-east-1", account=ACCOUNT)
    values = [release_values(config, item, placement(config, item, place, traces="")) for item in config.runtimes]
    images = [item["runtime"][name]["image"] for item in values for name in ("inferenceApi", "queueAgent")]
    return {image["repository"]: image["digest"] for image in images}


def _broken(place: Place) -> str:
    result = place.deploy()
    assert result.exit_code in {1, 2}, result.output
    assert "Traceback" not in result.output
    return result.output


def _fail_on(place: Place, part: str) -> None:
    def act(argv: list[str]) -> str:
        assert part not in f" {' '.join(argv)} ", "the tool is broken today"
        return place.act(argv)

    place.tools.act = act


def test_a_dry_run_writes_the_config_and_makes_nothing(place: Place) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    client("s3", place.endpoint).create_bucket(Bucket="my-models")
    result = place.deploy("-d", "-b", "my-models", "-T")
    assert result.exit_code == 0, result.output
    assert f"{len(steps(''))}/{len(steps(''))} " in result.output
    assert "first image after about 44 minutes, all done after 72" in result.output
    assert place.tools.calls == []
    assert len(client("s3", place.endpoint).list_buckets()["Buckets"]) == 1
    assert place.resolved() == {
        "stackName": "blue",
        "modelBucketArn": "arn:aws:s3:::my-models",
        "APIGW": {"stageName": "dev"},
        "modelsRuntime": [{"name": "sdruntime", "type": "comfyui"}],
        "cloud": {
            "availabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"],
            "publicAccessCidrs": ["203.0.113.7/32"],
            "outputBucket": f"blue-output-{ACCOUNT}-us-east-1",
            "nodeRole": "KarpenterNodeRole-blue-us-east-1",
        },
    }


def _play(account: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the emulated account one of a kind."""
    ec2 = client("ec2", place.endpoint)
    match account:
        case "no credentials":
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
                monkeypatch.delenv(name, raising=False)
            place.environment = {key: value for key, value in place.environment.items() if key != "AWS_ENDPOINT_URL"}
        case "default quotas":
            monkeypatch.setitem(place.service.quotas, STANDARD.code, 5.0)
        case "few GPUs":
            place.service.quota = 0.0
        case "few addresses":
            for _ in range(3):
                ec2.allocate_address(Domain="vpc")
        case "no address of the model":
            source = "{url: 'http://127.0.0.1:9/small.safetensors', sha256: %s}" % ("a" * 64)
            (place.folder / "model.yaml").write_text(
                "modelsRuntime: [{name: sdruntime, type: sdwebui, modelFilename: small.safetensors}]\n"
                f"cloud: {{modelSources: {{small.safetensors: {source}}}}}\n"
            )
        case "taken bucket":
            place.environment["AWS_ENDPOINT_URL_S3"] = place.service.url
        case "role of somebody":
            client("iam", place.endpoint).create_role(
                RoleName="KarpenterNodeRole-blue-us-east-1", AssumeRolePolicyDocument="{}"
            )
        case "excluded zone":
            zones = "cloud: {availabilityZones: [us-east-1a, us-east-1e]}"
            (place.folder / "zones.yaml").write_text(f"modelsRuntime: [{{name: a, type: comfyui}}]\n{zones}\n")
        case "bucket elsewhere":
            client("s3", place.endpoint).create_bucket(
                Bucket="models-in-europe", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
            )


@pytest.mark.parametrize(
    ("account", "options", "said"),
    [
        ("no credentials", (), "there are no AWS credentials (Unable to locate credentials): run `aws sso login`"),
        ("wrong region", ("-R", "us-wst-2"), "there is no region 'us-wst-2'; did you mean us-west-2?"),
        ("few GPUs", (), "no GPU can start: 'All G and VT Spot Instance Requests'"),
        ("default quotas", (), "Running On-Demand Standard instances, in vCPUs: 6 more are needed, 0 of 5"),
        (
            "few addresses",
            (),
            "EC2-VPC Elastic IPs: 3 more are needed, 3 of 5 are in use; ask for 6 at https://us-east-1",
        ),
        ("no model", ("-r", "sdruntime", "-t", "sdwebui"), "lacks Stable-diffusion/v1-5-pruned-emaonly.safetensors"),
        (
            "no model",
            ("-r", "sdruntime", "-t", "sdwebui"),
            "add --fetch-models to this command, if you agree to Creative",
        ),
        (
            "no address of the model",
            ("-t", "sdwebui", "--config", "model.yaml", "--fetch-models"),
            "in cloud.modelSources, such as a mirror, or bring the file yourself",
        ),
        ("taken bucket", ("-b", "models-of-somebody"), "the bucket models-of-somebody belongs to another account than"),
        ("role of somebody", (), "has a role KarpenterNodeRole-blue-us-east-1 that is not this deployment's"),
        ("excluded zone", ("--config", "zones.yaml"), "EKS takes no cluster in us-east-1e (use1-az3)"),
        (
            "bucket elsewhere",
            ("-b", "models-in-europe"),
            "the bucket models-in-europe is in eu-west-1, not in us-east-1",
        ),
    ],
)
def test_a_first_account_is_told_what_is_in_the_way_before_anything_is_made(
    place: Place, monkeypatch: pytest.MonkeyPatch, account: str, options: tuple[str, ...], said: str
) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    _play(account, place, monkeypatch)
    for dry in (("--dry-run",), ()):
        result = place.deploy(*options, *dry)
        assert result.exit_code == 2, result.output
        assert said in " ".join(result.output.split()), result.output
        assert "Traceback" not in result.output
        assert ("nothing was made" in result.output) is bool(dry)
    assert place.tools.calls == []


def test_an_account_without_the_model_gets_it_on_the_way_to_its_first_image(place: Place) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    source = f"{{url: '{place.service.url}/picture.png', sha256: {hashlib.sha256(picture()).hexdigest()}}}"
    (place.folder / "model.yaml").write_text(
        "modelsRuntime: [{name: sdruntime, type: sdwebui, modelFilename: small.safetensors}]\n"
        f"cloud: {{modelSources: {{small.safetensors: {source}}}}}\n"
    )
    options = ("-t", "sdwebui", "--config", "model.yaml", "--fetch-models", "--no-image-cache")
    dry = place.deploy(*options, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert f"small.safetensors ({len(picture())} bytes) comes from {place.service.url}" in dry.output
    assert "it costs $" in dry.output
    assert client("s3", place.endpoint).list_buckets()["Buckets"] == []
    done = place.deploy(*options)
    assert done.exit_code == 0, done.output
    found = client("s3", place.endpoint).get_object(
        Bucket=f"blue-models-{ACCOUNT}-us-east-1", Key="Stable-diffusion/small.safetensors"
    )
    assert found["Body"].read() == picture()


def test_a_second_region_takes_nothing_from_the_first(place: Place) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    (place.folder / "whole.yaml").write_text("modelsRuntime: [{name: sdruntime, type: comfyui}]\n")
    assert place.deploy("-d", "-T", "--config", "whole.yaml").exit_code == 0
    first = place.resolved()
    for name in (first["cloud"]["outputBucket"], first["modelBucketArn"].rpartition(":")[2]):
        client("s3", place.endpoint).create_bucket(Bucket=name)
    client("iam", place.endpoint).create_role(RoleName=first["cloud"]["nodeRole"], AssumeRolePolicyDocument="{}")
    again = place.deploy("-d", "-T", "--config", "whole.yaml")
    assert "that is not this deployment's" in again.output, "one of that name is there"
    result = place.deploy("-d", "-T", "--config", "whole.yaml", "-R", "us-west-2")
    assert result.exit_code == 0, result.output
    second: dict[str, Any] = yaml.safe_load((place.folder / "state/blue-us-west-2/config.yaml").read_text())
    names = [
        (found["modelBucketArn"], found["cloud"]["outputBucket"], found["cloud"]["nodeRole"])
        for found in (first, second)
    ]
    assert not set(names[0]) & set(names[1])
    assert second["cloud"]["availabilityZones"] == ["us-west-2a", "us-west-2b", "us-west-2c"]


@pytest.mark.parametrize(("owner", "taken"), [(ACCOUNT, True), ("210987654321", False)])
def test_a_bucket_that_a_stranger_lets_all_read_is_not_taken_for_ours(
    run: Run, moto: str, monkeypatch: pytest.MonkeyPatch, owner: str, taken: bool
) -> None:
    async def head(request: web.Request) -> web.Response:
        # As S3 does (Amazon S3, "Verifying bucket ownership with bucket owner condition").
        ours = request.headers.get("x-amz-expected-bucket-owner") == owner
        return web.Response(status=200 if ours else 403, headers={"x-amz-bucket-region": "us-east-1"})

    async def application() -> web.Application:
        made = web.Application()
        made.router.add_head("/models", head)
        return made

    with ThreadedServer(application) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        aws = Aws("us-east-1")
        if taken:
            assert bucket_place(aws, "models") == "us-east-1"
            return
        with pytest.raises(ToolError, match=f"belongs to another account than {ACCOUNT}.*cloud.modelBucketOwner"):
            bucket_place(aws, "models")
        aws.owners["models"] = owner
        assert bucket_place(aws, "models") == "us-east-1"


def test_a_dry_run_names_every_fault_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    place.service.quota = 0.0
    for limit in (BALANCERS, FARGATE):
        monkeypatch.setitem(FakeService.quotas, limit.code, 0)
    config = "modelsRuntime: [{name: sdruntime, type: sdwebui, modelFilename: v1-5-pruned-emaonly.safetensors}]\n"
    (place.folder / "sample.yaml").write_text(f"{config}cloud: {{sample: {{enabled: true}}}}\n")
    result = place.deploy("-d", "-T", "-t", "sdwebui", "-b", "nobody-has-it", "--config", "sample.yaml")
    assert "Application Load Balancers per Region: 1 more are needed, 0 of 0 are in use" in result.output
    assert "Fargate On-Demand vCPU resource count: 1 more are needed" in result.output
    assert "no GPU can start" in result.output
    assert "lacks Stable-diffusion/v1-5-pruned-emaonly.safetensors" in result.output
    assert "there is no bucket nobody-has-it: --bucket names one that exists already" in result.output
    assert "4 faults would stop the deployment; nothing was made" in result.output


@pytest.mark.parametrize(
    ("zones", "offering", "expected"),
    [
        ({"a": "use1-az1", "b": "use1-az2", "c": "use1-az3", "d": "use1-az4"}, set("abcd"), ["a", "b", "d"]),
        ({"a": "usw1-az1", "b": "usw1-az2", "c": "usw1-az3"}, set(), ["a", "c"]),
        ({name: f"x-{name}" for name in "abcde"}, {"c", "d", "e"}, ["c", "d", "e"]),
        ({name: f"x-{name}" for name in "abcde"}, {"e"}, ["a", "b", "e"]),
    ],
)
def test_zones_are_those_that_eks_takes_and_gpus_are_in(
    zones: dict[str, str], offering: set[str], expected: list[str]
) -> None:
    assert choose(zones, offering, region="r") == expected


def test_zones_of_a_network_that_exists_stay() -> None:
    assert keep((), ["a", "c"]) == keep(("a", "c"), ["a", "c"]) == ["a", "c"]
    with pytest.raises(ToolError, match=r"is in a, c, and cannot move .*write \[a, c\]"):
        keep(("a", "b"), ["a", "c"])
    with pytest.raises(ToolError, match="has 1 zones that EKS takes"):
        choose({"a": "cac1-az3", "b": "cac1-az1"}, set(), region="r")


def test_a_quota_that_suffices_or_is_not_needed_or_not_known_is_no_fault() -> None:
    quotas = {VPCS.code: 5.0, ADDRESSES.code: None}
    assert faults([Need(VPCS, 1, 4), Need(ADDRESSES, 3, 5), Need(VPCS, 0, 9)], quotas, region="r") == []
    (said,) = faults([Need(VPCS, 1, 5)], quotas, region="cn-north-1")
    assert said.endswith("ask for 6 at https://console.amazonaws.cn/servicequotas/home/services/vpc/quotas/L-F678F1CE")


def test_four_vcpus_are_no_room_for_the_first_images_of_three_runtimes() -> None:
    three = [replace(demand("g5.xlarge"), runtime=name) for name in "abc"]
    found = judge(three, vcpus=VCPUS, quotas={SPOT: 4.0, ON_DEMAND: 0.0}, region="us-east-1")
    assert "a node for each of 3 runtimes, 12 vCPUs together, and the quotas allow 4: ask for 12" in found.errors[0]
    assert not judge(three, vcpus=VCPUS, quotas={SPOT: 8.0, ON_DEMAND: 4.0}, region="us-east-1").errors


def test_who_may_reach_the_cluster_is_said_or_found_and_never_everybody(place: Place) -> None:
    place.service.address = "<html>log in to the hotel</html>"
    place.service.quota = 0.0
    said = " ".join(_broken(place).split())
    assert "does not tell this machine's public address" in said
    assert "--allow 203.0.113.7/32" in said
    result = place.deploy("--allow", "198.51.100.0/24", "--allow", "203.0.113.0/24")
    assert "lets in 198.51.100.0/24, 203.0.113.0/24" in result.output
    assert "no GPU can start" in result.output, "the next step"
    assert "must be IPv4 networks" in place.deploy("--allow", "everybody").output


def test_no_queue_goes_with_tasks_in_it(place: Place) -> None:
    sqs = client("sqs", place.endpoint)
    queues = {
        name: {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"blue-{name}"}}
        for name in ("sdruntime", "gone", "gone-dlq")
    }
    template = {
        "Resources": {name.replace("-", ""): item for name, item in queues.items()},
        "Outputs": {"ModelBucket": {"Value": "blue-models"}},
    }
    client("cloudformation", place.endpoint).create_stack(StackName="blue-messaging", TemplateBody=json.dumps(template))
    urls = {name: sqs.get_queue_url(QueueName=f"blue-{name}")["QueueUrl"] for name in queues}
    for url in urls.values():
        sqs.send_message(QueueUrl=url, MessageBody="a task")
    said = " ".join(_broken(place).split())
    assert "that the config no longer has: blue-gone has 1, blue-gone-dlq has 1; keep a runtime" in said
    assert place.tools.calls == []
    for url in urls.values():
        sqs.purge_queue(QueueUrl=url)
    _fail_on(place, " deploy blue-network ")
    assert "the tool is broken today" in _broken(place)


def test_a_named_bucket_must_exist(place: Place) -> None:
    result = place.deploy("-b", "nobody-has-this-bucket")
    assert result.exit_code == 2
    assert "there is no bucket nobody-has-this-bucket" in result.output


def test_a_named_snapshot_must_exist(place: Place) -> None:
    result = place.deploy("-s", "snap-0123456789abcdef0")
    assert result.exit_code == 2
    assert "there is no snapshot snap-0123456789abcdef0 in us-east-1" in result.output
    assert place.tools.calls == []


def test_a_tool_that_is_missing_is_named_with_its_source(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    result = place.deploy()
    assert "docker is not on the PATH: https://" in result.output


CONFIG = load_config(ROOT / "config.yaml")


@pytest.mark.parametrize(
    ("status", "again"), [("CREATE_COMPLETE", False), ("ROLLBACK_COMPLETE", True), ("CREATE_FAILED", True)]
)
def test_a_bootstrap_that_was_broken_off_is_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, again: bool
) -> None:
    ran = Mock()
    monkeypatch.setattr(making, "_cdk", ran)
    monkeypatch.setattr(making, "find_stack", lambda *_: {"StackStatus": status})
    making.bootstrap(Work(Mock(account=ACCOUNT, region="us-east-1"), CONFIG, Reporter(), tmp_path))
    assert ran.called is again


@pytest.mark.parametrize("sample", [False, True])
def test_the_role_of_ecs_is_made_where_the_sample_application_wants_it(place: Place, sample: bool) -> None:
    http().post(f"{place.endpoint}/moto-api/reset").raise_for_status()
    place._stack("CDKToolkit")
    config = load_config(ROOT / "config.yaml")
    cloud = config.cloud.model_copy(update={"sample": Sample(enabled=sample)})
    aws = Aws("us-east-1", place.endpoint)
    work = Work(aws, config.model_copy(update={"cloud": cloud}), Reporter(), place.folder)
    for _ in range(2):
        making.bootstrap(work)
    made = {role["Path"] for role in client("iam", place.endpoint).list_roles()["Roles"]}
    assert ("/aws-service-role/ecs.amazonaws.com/" in made) is sample


def test_a_state_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match=r"cannot write .*state\.json: "):
        carry_out([], Work(Mock(), CONFIG, Reporter(), tmp_path / "file" / "folder"))


def test_wishes_without_a_runtime_leave_the_runtimes_alone() -> None:
    assert resolve(CONFIG, Wishes()) == CONFIG
    assert resolve(CONFIG, Wishes(stack="blue")).runtimes == CONFIG.runtimes


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("dynamicruntime", "", ("dynamicruntime", "sdwebui", True)),
        ("mine", "", ("mine", "sdwebui", False)),
        ("", "comfyui", ("sdruntime", "comfyui", False)),
        ("sdruntime", "comfyui", ("sdruntime", "comfyui", False)),
    ],
)
def test_a_runtimes_name_or_type_asks_for_that_one_alone(name: str, kind: str, expected: tuple[str, str, bool]) -> None:
    (found,) = resolve(CONFIG, Wishes(runtime_name=name, runtime_type=kind)).runtimes
    assert (found.name, found.type, found.dynamic_model) == expected


def test_a_wish_that_cannot_be_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match="imageCache"):
        resolve(CONFIG, Wishes(snapshot="vol-1"))


def test_a_config_with_images_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = with_images(CONFIG, {"api": f"{HOST}/a@sha256:{'0' * 64}", "comfyui": f"{HOST}/c:v1"})
    config = with_canaries(config, {"sdruntime": canary(Phase.PROMOTED, promoted=f"{HOST}/new@sha256:{'1' * 64}")})
    write(tmp_path / "config.yaml", config)
    assert load_config(tmp_path / "config.yaml") == config
    image = config.runtimes[0].extra_values["runtime"]["inferenceApi"]["image"]
    assert image == {"repository": f"{HOST}/new", "digest": f"sha256:{'1' * 64}"}
    # What a runtime says itself comes first.
    again = with_canaries(config, {"sdruntime": canary(Phase.PROMOTED, promoted=f"{HOST}/newer:v2")})
    assert again == config
    assert image_values(f"{HOST}/newer:v2") == {"repository": f"{HOST}/newer", "tag": "v2"}


def test_images_that_a_tag_names_run_by_the_digest_that_is_in_the_snapshot() -> None:
    values: list[dict[str, Any]] = [
        {"repository": f"{HOST}/own", "tag": "v1"},
        {"tag": "v2"},
        {"repository": f"{HOST}/own", "digest": f"sha256:{'9' * 64}"},
    ]
    runtimes = [
        {"name": f"{key.lower()}{number}", "type": "comfyui", "extraValues": {key: {"inferenceApi": {"image": image}}}}
        for key in ("runtime", "sdWebuiInferenceApi")
        for number, image in enumerate(values)
    ]
    images = {"agent": f"{HOST}/agent:v3", "runtimes": {"comfyui": f"{HOST}/comfyui@sha256:{'8' * 64}"}}
    document = {"modelBucketArn": "arn:aws:s3:::models", "modelsRuntime": runtimes, "cloud": {"images": images}}
    config = parse_config(json.dumps(document))
    before = images_of(config, account=ACCOUNT, region="us-east-1")
    assert before == [f"{HOST}/own:v1", f"{HOST}/agent:v3", f"{HOST}/comfyui:v2", f"{HOST}/own@sha256:{'9' * 64}"]
    digests = {
        reference: f"{split_image(reference)[0]}@sha256:{number:064x}"
        for number, reference in enumerate(before)
        if "@" not in reference
    } | {reference: reference for reference in before if "@" in reference}
    after = with_digests(config, digests, account=ACCOUNT, region="us-east-1")
    by_digest = [digests.get(reference, reference) for reference in before]
    assert images_of(after, account=ACCOUNT, region="us-east-1") == by_digest
    # And so the chart names them.
    place = topology(after, region="us-east-1", account=ACCOUNT)
    for runtime in after.runtimes:
        found = release_values(after, runtime, placement(after, runtime, place, traces=""))["runtime"]
        for container in ("inferenceApi", "queueAgent"):
            assert "{repository}@{digest}".format(**found[container]["image"]) in by_digest


def canary(phase: Phase, *, image: str = "", promoted: str = "") -> CanaryState:
    return CanaryState(
        phase=phase,
        images={"inferenceApi": image} if image else {},
        percent=30,
        since=datetime.now(UTC),
        promoted={"inferenceApi": promoted} if promoted else {},
    )


@pytest.mark.parametrize(
    ("phase", "goes_on"),
    [(Phase.RUNNING, True), (Phase.PASSED, True), (Phase.ROLLED_BACK, False), (Phase.PROMOTED, False)],
)
def test_a_canary_that_runs_goes_on_beside_what_is_deployed(phase: Phase, goes_on: bool) -> None:
    images = {"sdwebui": f"{HOST}/sdwebui@sha256:{'0' * 64}", "agent": f"{HOST}/agent@sha256:{'1' * 64}"}
    config = with_canaries(with_images(CONFIG, images), {"sdruntime": canary(phase, image=f"{HOST}/tried:v2")})
    runtime = config.runtimes[0]
    place = topology(config, region="us-east-1", account=ACCOUNT)
    rendered = helm.render(
        release_values(config, runtime, placement(config, runtime, place, traces="")), release="sdruntime"
    )
    objects = {item["metadata"]["name"]: item for item in rendered if item["kind"] == "Deployment"}
    assert set(objects) == {"sdruntime", "sdruntime-canary"} if goes_on else {"sdruntime"}
    if goes_on:
        pod = objects["sdruntime-canary"]["spec"]["template"]["spec"]
        (inference,), (agent,) = pod["initContainers"], pod["containers"]
        assert (inference["image"], agent["image"]) == (f"{HOST}/tried:v2", images["agent"])


def test_the_port_of_a_registry_is_no_tag() -> None:
    assert split_image("host:5000/image") == ("host:5000/image", "", "")
    assert split_image("host:5000/image:v1@sha256:0") == ("host:5000/image", "v1", "sha256:0")


def test_a_tag_of_its_own_is_one_of_our_image() -> None:
    runtime = RuntimeConfig(
        name="a", type=RuntimeType.COMFYUI, extra_values={"runtime": {"inferenceApi": {"image": {"tag": "v2"}}}}
    )
    assert own_image(runtime, "inferenceApi", f"{HOST}/comfyui@sha256:0") == f"{HOST}/comfyui:v2"
    assert not own_image(runtime, "inferenceApi")
    assert not own_image(runtime, "queueAgent", f"{HOST}/agent:v1")


def test_the_images_of_the_cloud_are_the_ones_that_compose_builds() -> None:
    compose = load_compose()
    found = builds(CONFIG, compose)
    assert [item.holds for item in found] == ["api", "agent", "sdwebui", "comfyui"]
    for item in found:
        service = compose["services"][item.service]
        assert service["build"]
        assert service["image"].endswith(f":-darkroom/{item.holds}}}")
    assert builds(with_images(CONFIG, {item.holds: f"{HOST}/x:1" for item in found}), compose) == []


VCPUS = {"g5.xlarge": 4, "g5.2xlarge": 8, "p5.48xlarge": 192}


def demand(*types: str, pods: int = 2, spot: bool = True, on_demand: bool = True) -> Demand:
    return Demand("r", types, pods, spot, on_demand)


@pytest.mark.parametrize(
    ("asked", "spot", "on_demand", "errors", "warnings"),
    [
        (demand("g5.xlarge"), 64.0, 64.0, [], []),
        (demand("g5.xlarge"), 0.0, 4.0, [], ["at their most would use 8 vCPUs"]),
        (demand("g5.xlarge"), 0.0, 0.0, ["no GPU can start"], []),
        (demand("g5.xlarge", on_demand=False), 0.0, 64.0, ["no GPU can start"], []),
        (demand("p9.xlarge"), 64.0, 64.0, ["offers none of p9.xlarge"], []),
        (demand("p9.xlarge", "g5.2xlarge"), 8.0, 8.0, [], ["would use 16 vCPUs"]),
        (demand("g5.xlarge"), None, None, [], ["cannot be read"]),
        (demand("p5.48xlarge"), 0.0, 0.0, [], []),
    ],
)
def test_quotas_and_region_are_judged(
    asked: Demand, spot: float | None, on_demand: float | None, errors: list[str], warnings: list[str]
) -> None:
    found = judge([asked], vcpus=VCPUS, quotas={SPOT: spot, ON_DEMAND: on_demand}, region="us-east-1")
    assert [text in said for text, said in zip(errors, found.errors, strict=True)] == [True] * len(errors)
    assert [text in said for text, said in zip(warnings, found.warnings, strict=True)] == [True] * len(warnings)


def test_what_a_runtime_may_ask_for_is_read_from_its_values_and_the_charts() -> None:
    found = {item.runtime: item for item in demands(CONFIG)}
    assert found["sdruntime"].pods == 20
    assert "g5.xlarge" in found["sdruntime"].instance_types
    assert found["sdruntime"].spot


@pytest.mark.parametrize("example", sorted((ROOT / "cloud" / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_has_a_plan(run: Run, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    region = "cn-northwest-1" if example.stem == "china" else "us-east-1"
    # Without credentials: they are what is missing, and nothing else.
    result = run(
        *("deploy", "-d", "-T", "--config", str(example), "-R", region, "--state", str(tmp_path)),
        "--allow",
        "203.0.113.0/24",
    )
    assert result.exit_code == 2
    assert f"{len(steps(''))}/{len(steps(''))} " in result.output
    assert "1 fault would" in result.output
    (written,) = tmp_path.glob("*/config.yaml")
    assert load_config(written).runtimes == load_config(example).runtimes
