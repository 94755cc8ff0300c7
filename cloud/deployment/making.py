"""The steps that make something: bucket, stacks, images, image cache; and those that wait for it to work."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import ClientError

from cloud import names, shell
from cloud.aws import Aws, ToolError, code_of
from cloud.canary.state import read_all
from cloud.deployment import settings
from cloud.deployment.checks import check_queues
from cloud.deployment.existing import bucket_place
from cloud.deployment.images import ROOT, build_and_push, builds, load_compose
from cloud.deployment.removal import delete_stack
from cloud.deployment.steps import Work
from cloud.image_cache.add_ons import add_on_images
from cloud.image_cache.ensure import ensure_snapshot
from cloud.image_cache.images import images_of, resolve
from cloud.image_cache.prune import prune
from cloud.image_cache.volumes import cache_gib
from cloud.outputs import find_stack, stack_outputs
from cloud.smoke.api import Api
from cloud.smoke.verify import find_api, verify

CDK: Final = "aws-cdk@2.1148.1"
"""The CLI that knows our library's schema."""

_THERE_ALREADY: Final = frozenset({"InvalidInput", "EntityAlreadyExists"})
"""What IAM says of a service-linked role that was made before: AWS the former, emulators the latter."""

_BOOTSTRAP_STACK: Final = "CDKToolkit"
_BOOTSTRAPPED: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"})
"""Other states are those of a bootstrap that was broken off; another one mends it."""

_READY_WITHIN: Final = 900.0
"""Seconds until the API answers: its pods have started by then, and the load balancer has found them."""


def make_bucket(work: Work) -> None:
    """Makes the model bucket, private and encrypted, unless it is there.

    Raises:
        ToolError: it belongs to somebody else.
    """
    name = work.config.model_bucket
    if bucket_place(work.aws, name) is None:
        _create_bucket(work.aws.client("s3"), name, work.aws.region)


def _create_bucket(s3: Any, name: str, region: str) -> None:
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    s3.create_bucket(Bucket=name, **place)
    everything = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(everything, True))
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})


def bootstrap(work: Work) -> None:
    """Prepares account and region for spot instances, the sample application and the CDK, unless that was done."""
    for service in ("spot", *(["ecs"] if work.config.cloud.sample.enabled else [])):
        _allow(work.aws, service)
    stack = find_stack(work.aws, _BOOTSTRAP_STACK)
    if stack is not None and stack["StackStatus"] in _BOOTSTRAPPED:
        work.report.detail(f"{_BOOTSTRAP_STACK} is there")
        return
    _cdk(work, "bootstrap", f"aws://{work.aws.account}/{work.aws.region}")


def _allow(aws: Aws, service: str) -> None:
    """Makes a service's role, without which an account's first spot instance, or first cluster of ECS, may fail.

    Karpenter, "Troubleshooting"; Amazon ECS, "Using service-linked roles".
    """
    try:
        aws.client("iam").create_service_linked_role(AWSServiceName=f"{service}.amazonaws.com")
    except ClientError as error:
        if code_of(error) not in _THERE_ALREADY:
            raise


def deploy_base(work: Work) -> None:
    """Deploys network and registry, where images are pushed to and cached."""
    _deploy(work, names.network_stack(work.config), names.registry_stack(work.config))


def push_images(work: Work) -> None:
    """Builds and pushes what the config does not name, and notes all images by digest."""
    wanted = builds(work.config, load_compose())
    pushed = build_and_push(work.aws, work.config, wanted, work.report)
    work.config = settings.with_images(work.config, pushed)


def find_cache(work: Work) -> None:
    """Lets nodes start from the snapshot of these very images, if there is one already."""
    _cache(work, build=False)


def cache_images(work: Work) -> None:
    """Builds the snapshot, unless there is one of these very images, or nobody would use it, or nobody wants it."""
    if work.without_cache:
        work.report.detail("skipped: nodes pull the images")
        return
    _cache(work, build=True)


def deploy_cache(work: Work) -> None:
    """Lets nodes start from a snapshot that was built in this run."""
    if work.new_snapshot:
        deploy_all(work)
        work.new_snapshot = False


def _cache(work: Work, *, build: bool) -> None:
    if work.config.cloud.image_cache.snapshot_id:
        work.report.detail(work.config.cloud.image_cache.snapshot_id)
        return
    size = cache_gib(work.config)
    if not size:
        work.report.detail("no runtime uses it")
        return
    states = read_all(work.aws, work.config.stack_name)
    images = resolve(
        work.aws,
        images_of(settings.with_canaries(work.config, states), account=work.aws.account, region=work.aws.region),
    )
    found = list(dict.fromkeys([*images.values(), *add_on_images(work.aws, work.config, work.report)]))
    # What runs has the very names that are in the snapshot; a tag would be asked for again.
    by_digest = {reference: image.reference for reference, image in images.items() if image.digest}
    work.config = settings.with_digests(work.config, by_digest, account=work.aws.account, region=work.aws.region)
    snapshot = ensure_snapshot(work.aws, work.config, found, work.report, volume_gib=size, dry_run=not build)
    if snapshot:
        work.new_snapshot = build
        work.config = settings.resolve(work.config, settings.Wishes(snapshot=snapshot))


def deploy_all(work: Work) -> None:
    """Deploys every stack; those that are as they should be are left alone, and canaries go on.

    Raises:
        ToolError: tasks would be lost with a queue.
    """
    check_queues(work)
    # Asked as late as can be: one may have been begun or promoted while images were built.
    states = read_all(work.aws, work.config.stack_name)
    for name, state in states.items():
        if state.running and work.config.runtime(name) is not None:
            work.report.say(
                f"  note: the canary of {name} goes on, {state.percent} % with {', '.join(state.images.values())}; "
                f"`promote --runtime {name}` or `rollback --runtime {name}` ends it"
            )
    work.config = settings.with_canaries(work.config, states)
    if not work.config.cloud.sample.enabled:
        # The CDK leaves a stack alone that is not in the app any more.
        delete_stack(work.aws, names.sample_stack(work.config), work.report)
    _deploy(work, "--all")
    work.outputs = stack_outputs(work.aws, names.main_stack(work.config))


def wait_for_api(work: Work) -> None:
    """Waits until the API answers."""
    url, key = find_api(work.aws, names.main_stack(work.config))
    with Api(url, key, patience=_READY_WITHIN) as api:
        work.report.detail(f"{len(api.runtimes())} runtimes")


def verify_deployment(work: Work, input_image: str) -> None:
    """Sends the reference's requests, and waits for their images.

    Raises:
        ToolError: not all came.
    """
    with Api(*find_api(work.aws, names.main_stack(work.config))) as api:
        passed = verify(api, work.report, input_image=input_image)
    if not passed:
        raise ToolError("not all images came; `uvx nox -s status` tells whether pods and nodes did")


def remove_old_snapshots(work: Work) -> None:
    """Removes the image caches that nothing starts from any more."""
    prune(work.aws, work.config, None, work.report)


def _deploy(work: Work, *stacks: str) -> None:
    # As the reference does: what has been made stays after a failure, and the next run goes on from there. The output
    # bucket outlives its stack, so a deployment of the same name takes it over again. CloudFormation replaces nothing
    # without rollback: the CLI then asks whether it may go on with it, and here nobody could answer.
    options = ("--require-approval", "never", "--no-rollback", "--yes", "--import-existing-resources")
    _cdk(work, "deploy", *stacks, *options, "--progress", "events")


def _cdk(work: Work, *arguments: str) -> None:
    settings.write(work.config_file, work.config)
    context = ["--context", f"config={work.config_file.resolve()}"]
    shell.run(
        ["npx", "--yes", CDK, *arguments, *context, "--output", str(work.folder.resolve() / "cdk.out")],
        report=work.report,
        cwd=ROOT / "cloud",
        environment={
            "AWS_REGION": work.aws.region,
            "AWS_DEFAULT_REGION": work.aws.region,
            **({"AWS_ENDPOINT_URL": work.aws.endpoint_url} if work.aws.endpoint_url else {}),
        },
    )
