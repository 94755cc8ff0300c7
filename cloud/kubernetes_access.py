"""Reaches a deployment's cluster: by a kubeconfig, or by a token that EKS takes, made as `aws eks get-token` does."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import NoCredentialsError
from botocore.signers import RequestSigner

from cloud.aws import Aws, ToolError
from cloud.outputs import ClusterAccess, cluster_access, output_of, stack_outputs
from contract.cluster_tls import relax_client

TIMEOUT: Final = 20
"""Seconds of one question to the cluster."""

_TOKEN_SECONDS: Final = 60
"""For which the signed request may be presented (aws-iam-authenticator); the token itself lasts 15 minutes."""


@contextmanager
def kubeconfig(aws: Aws, stack: str, given: Path | None) -> Iterator[Path]:
    """Yields a kubeconfig for a deployment's cluster: the given one, or one that is gone afterwards.

    Raises:
        ToolError: there is no such stack.
        botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach or refuses.
    """
    if given is not None:
        yield given
        return
    access = cluster_access(output_of(stack_outputs(aws, stack), "ConfigCommand", stack))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        # A token is in it: nobody else may read it.
        path.touch(mode=0o600)
        path.write_text(json.dumps(_document(aws, access)), encoding="utf-8")
        yield path


def _document(aws: Aws, access: ClusterAccess) -> dict[str, Any]:
    """Returns a kubeconfig (as JSON, which is YAML) with a token."""
    cluster = aws.client("eks").describe_cluster(name=access.name)["cluster"]
    server = {
        "server": cluster["endpoint"],
        "certificate-authority-data": cluster["certificateAuthority"]["data"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": access.name, "cluster": server}],
        "users": [{"name": access.name, "user": {"token": _token(aws, access)}}],
        "contexts": [{"name": access.name, "context": {"cluster": access.name, "user": access.name}}],
        "current-context": access.name,
    }


def _token(aws: Aws, access: ClusterAccess) -> str:
    """Returns a signed GetCallerIdentity request, which is what EKS takes as a token (aws-iam-authenticator)."""
    sts = aws.client("sts")
    if access.role_arn:
        made = sts.assume_role(RoleArn=access.role_arn, RoleSessionName="darkroom-tools")["Credentials"]
        session = boto3.Session(
            aws_access_key_id=made["AccessKeyId"],
            aws_secret_access_key=made["SecretAccessKey"],
            aws_session_token=made["SessionToken"],
            region_name=aws.region,
        )
    else:
        session = boto3.Session(region_name=aws.region)
    credentials = session.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    signer = RequestSigner(sts.meta.service_model.service_id, aws.region, "sts", "v4", credentials, session.events)
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"{sts.meta.endpoint_url}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": access.name},
            "context": {},
        },
        region_name=aws.region,
        expires_in=_TOKEN_SECONDS,
        operation_name="",
    )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def api_client(path: Path) -> Any:
    """Returns a Kubernetes client for a kubeconfig."""
    from kubernetes import config  # noqa: PLC0415 - half a second, and only these commands need it

    api = config.new_client_from_config(config_file=str(path))
    relax_client(api)
    return api


@contextmanager
def plain_cluster_errors() -> Iterator[None]:
    """Turns what a Kubernetes client may raise, and the reading of a kubeconfig, into a sentence.

    Raises:
        ToolError: the cluster refuses, or cannot be reached.
    """
    from kubernetes.client import ApiException  # noqa: PLC0415 - see api_client
    from kubernetes.config import ConfigException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        raise ToolError(f"the cluster refuses: {error.reason}") from error
    except (HTTPError, ConfigException) as error:
        raise ToolError(
            f"the cluster cannot be reached: {error}\nit lets in the VPC, and whom cloud.publicAccessCidrs names: the "
            "machine that `deploy` ran on unless that is set. From another address, `deploy` again, with --allow"
        ) from error
