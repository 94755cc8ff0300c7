"""The output bucket: images, the runtimes' answers, and the tasks' records."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cloud.constructs.pod_identity import allow
from contract.topology import Topology, bucket_cors, bucket_lifecycle


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


def access_statements(place: Topology) -> list[iam.PolicyStatement]:
    """Returns what API and agents may do in the output bucket; listing makes a missing object a 404, not a 403."""
    bucket = f"arn:{place.partition}:s3:::{place.output_bucket}"
    return [
        allow("ListResults", ["s3:ListBucket"], [bucket]),
        allow("KeepResults", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], [f"{bucket}/*"]),
    ]
