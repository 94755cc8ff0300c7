"""The output bucket: images, the runtimes' answers, and the tasks' records."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cloud.constructs.pod_identity import allow, deny
from contract.objects import (
    AGENTS,
    DEADLINES,
    ENDED,
    IDEMPOTENCY,
    INPUTS,
    LISTS,
    PAYLOADS,
    RECORDS,
    REQUESTS,
    RUNTIMES,
    USAGE,
    WEBHOOKS,
)
from contract.topology import Topology, bucket_cors, bucket_lifecycle

API_ALONE: Final = (DEADLINES, IDEMPOTENCY, REQUESTS, WEBHOOKS, ".sweeps/")
"""Prefixes of keys that no agent reads or writes."""


class Results(Construct):
    """The output bucket, private and encrypted; it outlives the stack with all that is in it."""

    def __init__(self, scope: Construct, construct_id: str, *, place: Topology) -> None:
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Output",
            bucket_name=place.output_bucket,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id=rule["ID"],
                    prefix=rule["Filter"]["Prefix"],
                    expiration=Duration.days(rule["Expiration"]["Days"]),
                    abort_incomplete_multipart_upload_after=(
                        Duration.days(rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])
                        if "AbortIncompleteMultipartUpload" in rule
                        else None
                    ),
                )
                for rule in bucket_lifecycle(place)["Rules"]
            ],
            cors=[
                s3.CorsRule(
                    allowed_origins=rule["AllowedOrigins"],
                    allowed_methods=[s3.HttpMethods[method] for method in rule["AllowedMethods"]],
                    allowed_headers=rule["AllowedHeaders"],
                    exposed_headers=rule["ExposeHeaders"],
                    max_age=rule["MaxAgeSeconds"],
                )
                for rule in bucket_cors(place)["CORSRules"]
            ]
            or None,
        )


def api_access(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what the API may do in the output bucket: read all of it, and write its notes, which start with a dot.

    Listing makes a missing object a 404, not a 403.
    """
    bucket = _bucket(place)
    return [
        allow("ListResults", ["s3:ListBucket"], [bucket], owner=place.account),
        allow("ReadResults", ["s3:GetObject"], [f"{bucket}/*"], owner=place.account),
        allow("KeepNotes", ["s3:PutObject"], [f"{bucket}/.*"], owner=place.account),
        allow(
            "SeeToUploads",
            ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            [f"{bucket}/{INPUTS}*"],
            owner=place.account,
        ),
        allow("ForgetDeadlines", ["s3:DeleteObject"], [f"{bucket}/{DEADLINES}*"], owner=place.account),
    ]


def webhooks_access(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what the deliverer of webhooks may do in the output bucket: read, for its links too, and keep ledgers."""
    bucket = _bucket(place)
    return [
        allow("ListResults", ["s3:ListBucket"], [bucket], owner=place.account),
        allow("ReadResults", ["s3:GetObject"], [f"{bucket}/*"], owner=place.account),
        allow("KeepLedgers", ["s3:PutObject"], [f"{bucket}/{WEBHOOKS}*"], owner=place.account),
    ]


def agent_access(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what agents may do in the output bucket: results anywhere, and records, but not what is the API's.

    A content too large for its message is deleted with that. A task's prefix is its sender's to choose, so results have
    no folder of their own that a policy could name.
    """
    bucket = _bucket(place)
    listing = allow("ListResults", ["s3:ListBucket"], [bucket], owner=place.account)
    # Absent when it is asked for one object: then it holds as well.
    listing.add_condition("StringNotLike", {"s3:prefix": ".*"})
    return [
        listing,
        allow(
            "KeepResults",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            [f"{bucket}/*"],
            owner=place.account,
        ),
        deny("LeaveTheApis", ["s3:*"], [f"{bucket}/{prefix}*" for prefix in API_ALONE]),
        deny(
            "KeepRecords",
            ["s3:DeleteObject"],
            [f"{bucket}/{prefix}*" for prefix in (RECORDS, ENDED, INPUTS, LISTS, RUNTIMES, AGENTS, USAGE)],
        ),
        deny("LeavePayloads", ["s3:PutObject"], [f"{bucket}/{prefix}*" for prefix in (PAYLOADS, INPUTS)]),
    ]


def _bucket(place: Topology) -> str:
    return f"arn:{place.partition}:s3:::{place.output_bucket}"
