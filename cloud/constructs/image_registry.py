"""The ECR repositories of a deployment."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from constructs import Construct

from cloud import names
from contract.config import Config


class ImageRegistry(Construct):
    """A repository for the API, the agent and each type of runtime; it goes with the stack, and its images with it."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.repositories = {
            holds: ecr.Repository(
                self,
                holds,
                repository_name=name,
                image_scan_on_push=True,
                # What is deployed is deployed by digest; only `latest` moves.
                image_tag_mutability=ecr.TagMutability.IMMUTABLE_WITH_EXCLUSION,
                image_tag_mutability_exclusion_filters=[ecr.ImageTagMutabilityExclusionFilter.wildcard("latest")],
                lifecycle_rules=[
                    ecr.LifecycleRule(
                        description="forget what no tag names any more",
                        tag_status=ecr.TagStatus.UNTAGGED,
                        max_image_age=Duration.days(30),
                    )
                ],
                removal_policy=RemovalPolicy.DESTROY,
                empty_on_delete=True,
            )
            for holds, name in names.repositories(config).items()
        }
