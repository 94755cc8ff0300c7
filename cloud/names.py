"""Names what the stacks make and the tools look for, so that neither has to ask the other."""

from __future__ import annotations

from typing import Final

from contract.config import Config, ConfigError, ModelStorage
from contract.task import RuntimeType
from contract.topology import Topology, name_within, partition_of

DEPLOYMENT_TAG: Final = "darkroom:deployment"
"""On every resource; the budget counts by it."""

CHART: Final = "darkroom-runtime"
"""The runtimes' Helm chart, as its Chart.yaml names it."""

STORAGE_CLASS: Final = "efs-model-storage-sc"
"""Of the models' volume on EFS; the name that users of the reference's predecessor know."""

NODE_ADD_ONS: Final = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Of EKS, one on each node, and there first: no node is ready without network plugin and proxy."""

CLUSTER_ADD_ONS: Final = ("coredns", "metrics-server")
"""They need nodes to run on."""

INSIGHTS: Final = "amazon-cloudwatch-observability"
S3_DRIVER: Final = "aws-mountpoint-s3-csi-driver"
EFS_DRIVER: Final = "aws-efs-csi-driver"

_ROLE_NAME: Final = 64
"""Characters that a role's name may have."""


def network_stack(config: Config) -> str:
    """Returns the name of the stack with the network."""
    return f"{config.stack_name}-network"


def registry_stack(config: Config) -> str:
    """Returns the name of the stack with the image repositories and the image cache's builder."""
    return f"{config.stack_name}-registry"


def messaging_stack(config: Config) -> str:
    """Returns the name of the stack with topics, queues and the output bucket; it stands alone."""
    return f"{config.stack_name}-messaging"


def main_stack(config: Config) -> str:
    """Returns the name of the stack with the cluster, and with the outputs that users look up."""
    return config.stack_name


def sample_stack(config: Config) -> str:
    """Returns the name of the stack with the sample application, which only some deployments have."""
    return f"{config.stack_name}-sample"


def check_partition(config: Config, region: str) -> None:
    """Refuses a region that is not in the partition of the model bucket's ARN, or lacks what the config wants.

    Raises:
        ConfigError: it is in another one.
    """
    found = partition_of(region)
    if not config.partition and config.cloud.delivery.enabled and found != "aws":
        raise ConfigError(
            f"cloud.delivery.enabled: CloudFront has no origin access control in {found}; set it to false"
        )
    if config.partition and found != config.partition:
        raise ConfigError(
            f"modelBucketArn: is in the partition {config.partition}, but the region {region} is in {found}; "
            f"write arn:{found}:s3:::{config.model_bucket}, or choose another region"
        )


def add_ons(config: Config) -> list[str]:
    """Returns the add-ons of EKS that a deployment has."""
    driver = EFS_DRIVER if config.cloud.model_storage is ModelStorage.EFS else S3_DRIVER
    return [*NODE_ADD_ONS, *CLUSTER_ADD_ONS, INSIGHTS, driver]


def node_role(config: Config, region: str) -> str:
    """Returns the name of the role that Karpenter gives its nodes; an account has one of a name for all regions."""
    return config.cloud.node_role or name_within(
        _ROLE_NAME, config.stack_name, before="KarpenterNodeRole-", after=f"-{region}"
    )


def budget(config: Config, region: str) -> str:
    """Returns the name of the monthly budget; an account has one of a name for all regions."""
    return f"{config.stack_name}-{region}"


def runtime_types(config: Config) -> list[RuntimeType]:
    """Returns the types of runtime that a config uses, each once, in its order."""
    return list(dict.fromkeys(runtime.type for runtime in config.runtimes))


def own_images(config: Config) -> list[str]:
    """Returns which of our own parts a deployment runs, by the names of their images."""
    return ["api", "agent", *(["webhooks"] if config.cloud.webhooks else [])]


def repositories(config: Config) -> dict[str, str]:
    """Returns the ECR repositories by what they hold: `api`, `agent`, `webhooks`, and each type of runtime in use."""
    # ECR takes lower-case names only.
    stack = config.stack_name.lower()
    return {name: f"{stack}/{name}" for name in (*own_images(config), *runtime_types(config))}


def url_suffix(partition: str) -> str:
    """Returns the domain of a partition's services."""
    return "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"


def queue_url(place: Topology, name: str) -> str:
    """Returns the URL of a queue."""
    return f"https://sqs.{place.region}.{url_suffix(place.partition)}/{place.account}/{name}"


def split_image(reference: str) -> tuple[str, str, str]:
    """Returns an image reference's repository (with its registry), tag and digest; what it lacks is empty."""
    name, _, digest = reference.partition("@")
    # A colon before the last slash is a registry's port.
    if ":" not in name.rpartition("/")[2]:
        return name, "", digest
    repository, _, tag = name.rpartition(":")
    return repository, tag, digest


def registry(*, account: str, region: str) -> str:
    """Returns the address of the account's ECR registry."""
    return f"{account}.dkr.ecr.{region}.{url_suffix(partition_of(region))}"


def image(config: Config, holds: str, *, account: str, region: str) -> str:
    """Returns the image that runs: the configured one, else `latest` of the deployment's own repository.

    Raises:
        KeyError: `holds` is none of our own parts that run, nor a type of runtime in use.
    """
    images = config.cloud.images
    runtimes = {kind.value: reference for kind, reference in images.runtimes.items()}
    configured = {"api": images.api, "agent": images.agent, "webhooks": images.webhooks, **runtimes}.get(holds)
    return configured or f"{registry(account=account, region=region)}/{repositories(config)[holds]}:latest"
