"""The order of a deployment, as a table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cloud import names
from cloud.deployment import account, checks, existing, making, models, releases
from cloud.deployment.images import builds, load_compose
from cloud.deployment.steps import Step, Work
from cloud.image_cache.prune import KEPT
from cloud.image_cache.volumes import cache_gib


def steps(input_image: str) -> list[Step]:
    """Returns the steps from nothing to the first image."""
    return [
        Step("region", "checking the region", _says("look whether it exists"), account.check_region, check=True),
        Step("tools", "checking tools", _tools, checks.check_tools, check=True),
        Step("account", "checking credentials and region", _account, checks.check_account, check=True),
        Step(
            "names",
            "settling names that are the world's or the account's",
            _says("keep those of the stacks that exist, and look whether the others are free"),
            existing.settle_names,
            check=True,
        ),
        Step(
            "entrance",
            "finding who may reach the cluster's Kubernetes API",
            _entrance,
            checks.find_entrance,
            check=True,
        ),
        Step(
            "zones",
            "choosing availability zones",
            _says("those that EKS takes and GPUs are offered in; those of a network that exists stay"),
            account.check_zones,
            check=True,
        ),
        Step(
            "room",
            "checking instance types and GPU quotas",
            _says("compare the runtimes' instance types with the region's, and their most with the G and VT quotas"),
            checks.check_room,
            check=True,
        ),
        Step(
            "limits",
            "checking quotas of the account",
            _says("compare addresses, VPCs, gateways, buckets and vCPUs that are added with what is left"),
            account.check_limits,
            check=True,
        ),
        Step(
            "releases",
            "finding the versions of nodes and add-ons",
            _says("ask EKS for the current ones, which the deployment gets unless the config names others"),
            releases.settle_releases,
            check=True,
        ),
        Step(
            "snapshots",
            "checking the snapshots that the config names",
            _says("compare their size with the nodes' data volumes"),
            checks.check_snapshots,
            check=True,
        ),
        Step(
            "queues",
            "checking the queues of runtimes that go",
            _says("look for tasks in the queues of runtimes that the config no longer has"),
            checks.check_queues,
            check=True,
        ),
        Step(
            "templates",
            "checking the templates",
            _says("synthesize them, which finds what the CDK or the chart refuses, and count their fixed cost"),
            checks.check_templates,
            check=True,
        ),
        Step("bucket", "making the model bucket", _bucket, making.make_bucket),
        Step("models", "looking for the models", _models, models.check_models, check=True),
        Step("fetch", "beginning to fetch models", _fetch, models.begin_fetch),
        Step(
            "bootstrap",
            "preparing the account for the CDK",
            _says("cdk bootstrap, unless that was done before"),
            making.bootstrap,
            minutes=2,
        ),
        Step("base", "deploying network and registry", _base, making.deploy_base, minutes=3),
        Step("images", "building and pushing images", _images, making.push_images, minutes=10),
        Step("cached", "looking for a snapshot of the images", _cached, making.find_cache),
        Step("stacks", "deploying all stacks", _stacks, making.deploy_all, minutes=20),
        Step("api", "waiting for the API", _says("ask it until it answers"), making.wait_for_api, minutes=1),
        Step("models-there", "waiting for the models", _fetched, models.end_fetch),
        Step("smoke", "sending the reference's requests", _smoke, partial(_verify, input_image=input_image), minutes=8),
        # After the first images, which need not wait for it: nodes that start later find the images on their disk.
        Step("image-cache", "caching the images in a snapshot", _cache, making.cache_images, minutes=25, after=True),
        Step(
            "stacks-again",
            "letting nodes start from the snapshot",
            _says("cdk deploy once more, if there is a new snapshot"),
            making.deploy_cache,
            minutes=3,
            after=True,
        ),
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
    return f"{verb} {work.config.model_bucket or 'of this deployment alone'}"


def _models(work: Work) -> str:
    wanted = [item.static_checkpoint for item in work.config.runtimes if item.static_checkpoint]
    if work.without_models or not wanted:
        return "nothing"
    stops = "ask whether it can be fetched" if work.fetch_models else "stop"
    return f"look for {', '.join(wanted)}, and {stops} where one is missing"


def _fetch(work: Work) -> str:
    if work.without_models or not work.fetch_models:
        return "nothing"
    return "download what the bucket lacks, compare its hash, and upload it, beside the next steps"


def _fetched(work: Work) -> str:
    return "wait until they are in the bucket" if _fetch(work) != "nothing" else "nothing"


def _cached(work: Work) -> str:
    return work.config.cloud.image_cache.snapshot_id or "find the snapshot of these digests"


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
    if work.without_cache:
        return "nothing, as --no-image-cache says"
    return "build a snapshot of these digests, unless one was found"


def _stacks(work: Work) -> str:
    return f"cdk deploy --all ({names.messaging_stack(work.config)}, {names.main_stack(work.config)}, …)"


def _smoke(work: Work) -> str:
    return f"the reference's requests for {', '.join(runtime.name for runtime in work.config.runtimes)}"
