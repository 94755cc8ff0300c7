"""Gives a Kubernetes service account an IAM role of its own, by EKS Pod Identity."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_eks_v2 as eks
from aws_cdk import aws_iam as iam
from constructs import Construct


class PodIdentity(Construct):
    """A role that the pods of one service account have, and nobody else."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        cluster: eks.ICluster,
        namespace: str,
        service_account: str,
        statements: Sequence[iam.PolicyStatement] = (),
        managed_policies: Sequence[iam.IManagedPolicy] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=pod_principal(),
            managed_policies=list(managed_policies),
            description=f"Pods of {namespace}/{service_account}",
        )
        for statement in statements:
            self.role.add_to_policy(statement)
        self.association = eks.CfnPodIdentityAssociation(
            self,
            "Association",
            # The token, not the name: so that CloudFormation waits for the cluster.
            cluster_name=cluster.cluster_name,
            namespace=namespace,
            service_account=service_account,
            role_arn=self.role.role_arn,
        )


def pod_principal() -> iam.IPrincipal:
    """Returns the principal through which pods take a role."""
    return iam.SessionTagsPrincipal(iam.ServicePrincipal("pods.eks.amazonaws.com"))


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], *, owner: str | None = None
) -> iam.PolicyStatement:
    """Returns a statement that allows actions on resources, of whatever account or only of that which is to own them.

    A bucket's name says nothing about whose it is: one that was deleted can be somebody else's the next day.
    """
    return iam.PolicyStatement(
        sid=sid,
        actions=list(actions),
        resources=list(resources),
        conditions={"StringEquals": {"aws:ResourceAccount": owner}} if owner else None,
    )


def deny(sid: str, actions: Sequence[str], resources: Sequence[str]) -> iam.PolicyStatement:
    """Returns a statement that denies actions on resources, whatever else allows them."""
    return iam.PolicyStatement(sid=sid, effect=iam.Effect.DENY, actions=list(actions), resources=list(resources))
