"""CloudFront over the output bucket, for links that do not expire."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contract.config import Config
from contract.topology import Topology, name_within

_ACCESS_CONTROL_NAME: Final = 64
"""Characters that the name of an origin access control may have."""

_PRICE_CLASSES: Final = {
    "PriceClass_100": cloudfront.PriceClass.PRICE_CLASS_100,
    "PriceClass_200": cloudfront.PriceClass.PRICE_CLASS_200,
    "PriceClass_All": cloudfront.PriceClass.PRICE_CLASS_ALL,
}


class Delivery(Construct):
    """A distribution that alone may read the bucket's results, and none of its records and payloads."""

    def __init__(
        self, scope: Construct, construct_id: str, *, config: Config, place: Topology, bucket: s3.Bucket
    ) -> None:
        super().__init__(scope, construct_id)
        # The managed policies are the security headers alone, and the same with every origin allowed to read: results
        # are open to whoever knows their links anyway.
        headers = cloudfront.ResponseHeadersPolicy
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"Results of {config.stack_name}",
            price_class=_PRICE_CLASSES[config.cloud.delivery.price_class],
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(bucket),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
                # A result is written once under its name.
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                response_headers_policy=(
                    headers.CORS_ALLOW_ALL_ORIGINS_AND_SECURITY_HEADERS
                    if place.cors_origins
                    else headers.SECURITY_HEADERS
                ),
            ),
        )
        for child in self.node.find_all():
            if isinstance(child, cloudfront.CfnOriginAccessControl):
                # The CDK names it by stack and path alone, and an account has one of a name for all regions.
                name = name_within(_ACCESS_CONTROL_NAME, config.stack_name, after=f"-{place.region}")
                child.add_property_override("OriginAccessControlConfig.Name", name)
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="DeliverNoRecords",
                effect=iam.Effect.DENY,
                principals=[iam.ServicePrincipal("cloudfront.amazonaws.com")],
                actions=["s3:GetObject"],
                resources=[bucket.arn_for_objects(f"{prefix}*") for prefix in place.expiring_prefixes],
            )
        )
        self.url = f"https://{distribution.distribution_domain_name}"
