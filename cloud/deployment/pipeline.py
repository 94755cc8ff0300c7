"""The order of a deployment, as a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cloud import names
from cloud.deployment import checks, making
from cloud.deployment.images import builds, load_compose
from cloud.deployment.steps import Step, Work
from cloud.image_cache.prune import KEPT
from cloud.image_cache.volumes import cache_gib


def steps(input_image: str) -> list[Step]:
    """Returns the steps from nothing to the first image."""
    return [
        Step("tools", "checking tools", _tools, checks.check_tools),
        Step("account", "checking credentials and region", _account, checks.check_account),
        Step("entrance", "finding who may reach the cluster's Kubernetes API", _entrance, checks.find_entrance),
        Step(
            "room",
            "checking instance types and GPU quotas",
            _says("compare the runtimes' instance types with the region's, and their most with the G and VT quotas"),
            checks.check_room,
        ),
        Step(
            "snapshots",
            "checking the snapshots that the config names",
            _says("compare their size with the nodes' data volumes"),
            checks.check_snapshots,
        ),
        Step(
            "queues",
            "checking the queues of runtimes that go",
            _says("look for tasks in the queues of runtimes that the config no longer has"),
            checks.check_queues,
        ),
        Step("bucket", "making the model bucket", _bucket, making.make_bucket),
        Step(
            "bootstrap",
            "preparing the account for the CDK",
            _says("cdk bootstrap, unless that was done before"),
            making.bootstrap,
        ),
        Step("base", "deploying network and registry", _base, making.deploy_base),
        Step("images", "building and pushing images", _images, making.push_images),
        Step("image-cache", "caching the images in a snapshot", _cache, making.cache_images),
        Step("stacks", "deploying all stacks (20 to 30 minutes the first time)", _stacks, making.deploy_all),
        Step("api", "waiting for the API", _says("ask it until it answers"), making.wait_for_api),
        Step("smoke", "sending the reference's requests", _smoke, partial(_verify, input_image=input_image)),
        Step(
            "old-snapshots",
            "removing old image caches",
            _says(f"delete the snapshots of this stack but the newest {KEPT}, and none that anything names"),
            making.remove_old_snapshots,
        ),
    ]


def _verify(work: Work, *, input_image: str) -> None:
    making.verify_deployment(work, input_image)


def _tools(work: Work) -> str:
    return "nothing" if work.skip_tools else "look for npx, and for docker if images have to be built"


def _account(work: Work) -> str:
    return f"ask AWS who we are, in {work.aws.region}, and compare partitions"


def _entrance(work: Work) -> str:
    cidrs = work.config.cloud.public_access_cidrs
    if cidrs is None:
        return f"ask {checks.ADDRESS_URL} for this machine's address, and let in no other"
    return f"let in {', '.join(cidrs) or 'nobody outside the network'}, as the config says"


def _says(text: str) -> Callable[[Work], str]:
    return lambda _: text


def _bucket(work: Work) -> str:
    verb = "use the existing bucket" if work.chosen_bucket else "use or make the private bucket"
    return f"{verb} {work.config.model_bucket}, and look for the checkpoints"


def _base(work: Work) -> str:
    return f"cdk deploy {names.network_stack(work.config)} {names.registry_stack(work.config)}"


def _images(work: Work) -> str:
    wanted = [item.holds for item in builds(work.config, load_compose())]
    return f"docker compose build, push by digest: {', '.join(wanted)}" if wanted else "nothing: the config names all"


def _cache(work: Work) -> str:
    if snapshot := work.config.cloud.image_cache.snapshot_id:
        return f"use {snapshot}"
    if not cache_gib(work.config):
        return "nothing: no runtime uses a snapshot"
    return "find the snapshot of these digests, or build one (15 to 30 minutes)"


def _stacks(work: Work) -> str:
    return f"cdk deploy --all ({names.messaging_stack(work.config)}, {names.main_stack(work.config)}, …)"


def _smoke(work: Work) -> str:
    return f"the reference's requests for {', '.join(runtime.name for runtime in work.config.runtimes)}"
