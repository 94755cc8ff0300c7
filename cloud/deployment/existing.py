"""The names that a deployment has already: they stay, since another bucket or role would be a new and empty one."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import ClientError

from cloud import names
from cloud.aws import Aws, ToolError
from cloud.deployment.settings import with_names
from cloud.deployment.steps import Work
from cloud.outputs import find_stack
from contract.config import Config
from contract.topology import LOCAL_ACCOUNT, topology

FORMER_MODELS: Final = "darkroom-models"
"""The model bucket that config.yaml named before each deployment had one of its own."""

_ROLE: Final = "KarpenterNodeRole-"
_WHOLE: Final = frozenset(
    {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"}
)


def as_deployed(aws: Aws, config: Config) -> Config:
    """Returns the config with the names that its stacks gave what is the world's or the account's.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: CloudFormation is out of reach or refuses.
    """
    if aws.account == LOCAL_ACCOUNT:  # an emulator: there are no others, and perhaps no CloudFormation
        return config
    models = _outputs(find_stack(aws, names.messaging_stack(config))).get("ModelBucket", "")
    partition = topology(config, region=aws.region, account=aws.account).partition
    return with_names(
        config,
        model_bucket_arn=f"arn:{partition}:s3:::{models}" if models else "",
        output_bucket=_resource(aws, names.messaging_stack(config), "AWS::S3::Bucket"),
        node_role=_resource(aws, names.main_stack(config), "AWS::IAM::Role", starts=_ROLE),
    )


def settle_names(work: Work) -> None:
    """Keeps the names of a deployment that exists, gives the others, and looks whether they are free; notes them all.

    Raises:
        ToolError: one is somebody else's.
    """
    messaging = find_stack(work.aws, names.messaging_stack(work.config))
    config = as_deployed(work.aws, work.config)
    # One that has never come to its end has no outputs yet.
    if messaging and messaging["StackStatus"] in _WHOLE and not config.model_bucket_arn:
        raise ToolError(
            f"the deployment {config.stack_name} reads models from a bucket that the config no longer names; write "
            f"modelBucketArn: arn:aws:s3:::{FORMER_MODELS} (the former default), or name the one with the models"
        )
    place = topology(config, region=work.aws.region, account=work.aws.account)
    role = names.node_role(config, work.aws.region)
    if find_stack(work.aws, names.main_stack(config)) is None and _has_role(work.aws, role):
        raise ToolError(
            f"the account has a role {role} that is not this deployment's: give another name in cloud.nodeRole, "
            "another --stack-name, or delete that role"
        )
    if where := bucket_place(work.aws, place.output_bucket):
        check_place(place.output_bucket, where, work.aws.region, way_out="name another one in cloud.outputBucket")
    if config.cloud.model_bucket_owner:
        work.aws.owners[place.model_bucket] = config.cloud.model_bucket_owner
    if where := bucket_place(work.aws, place.model_bucket):
        check_place(place.model_bucket, where, work.aws.region, way_out="copy the models to one that is here")
    elif work.chosen_bucket:
        raise ToolError(f"there is no bucket {place.model_bucket}: --bucket names one that exists already")
    work.config = with_names(
        config, model_bucket_arn=place.model_bucket_arn, output_bucket=place.output_bucket, node_role=role
    )
    work.report.detail(f"models in {place.model_bucket}, results in {place.output_bucket}, nodes as {role}")


def bucket_place(aws: Aws, name: str) -> str | None:
    """Returns the region of a bucket; None: there is none. `elsewhere` where S3 does not say which.

    Raises:
        ToolError: it is another account's.
    """
    try:
        found = aws.client("s3").head_bucket(Bucket=name)
    except ClientError as error:
        answer = error.response.get("ResponseMetadata", {})
        region: str = answer.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        match answer.get("HTTPStatusCode"):
            case 403:
                raise ToolError(
                    f"the bucket {name} belongs to another account than {aws.owners.get(name) or aws.account}, or this "
                    "one may not look at it: name a bucket of your own (--bucket, modelBucketArn, cloud.outputBucket), "
                    "or, if models are to come from there, its account in cloud.modelBucketOwner"
                ) from error
            case 404:
                return None
            case 301 | 400:
                return region or "elsewhere"
        raise
    headers = found["ResponseMetadata"]["HTTPHeaders"]
    return str(found.get("BucketRegion") or headers.get("x-amz-bucket-region") or aws.region)


def check_place(name: str, where: str, region: str, *, way_out: str) -> None:
    """Refuses a bucket of another region.

    Raises:
        ToolError: it is in another one.
    """
    if where == "elsewhere":
        raise ToolError(f"the bucket {name} is in another region than {region}: {way_out}")
    if where != region:
        raise ToolError(f"the bucket {name} is in {where}, not in {region}: {way_out}, or deploy to --region {where}")


def _outputs(stack: dict[str, Any] | None) -> dict[str, str]:
    return {item["OutputKey"]: item["OutputValue"] for item in (stack or {}).get("Outputs", [])}


def _resource(aws: Aws, stack: str, kind: str, *, starts: str = "") -> str:
    """Returns the name of a stack's resource of a type; empty: there is none, or no stack."""
    if find_stack(aws, stack) is None:
        return ""
    for page in aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack):
        for item in page["StackResourceSummaries"]:
            name = str(item.get("PhysicalResourceId", ""))
            if item["ResourceType"] == kind and name and name.startswith(starts):
                return name
    return ""


def _has_role(aws: Aws, name: str) -> bool:
    iam = aws.client("iam")
    try:
        iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        return False
    return True
