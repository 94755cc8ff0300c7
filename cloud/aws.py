"""Makes the AWS clients of the tools: one region, timeouts on every call, an emulator's address if there is one."""

from __future__ import annotations

import os
import threading
from typing import Any, Final

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    SSOTokenLoadError,
    TokenRetrievalError,
)

from contract.ownership import expect_owner
from contract.topology import LOCAL_ACCOUNT

_EMULATOR_CREDENTIALS: Final = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
"""What an emulator takes when nothing else is set; LocalStack and MiniStack read it as the account 000000000000."""


class ToolError(Exception):
    """Something that a tool cannot go on from; the text is a sentence that says what it is and what to do."""


class Aws:
    """The account and region that a tool works on.

    Args:
        region: such as us-east-1; None: the environment's or the profile's.
        endpoint_url: of an emulator that stands in for all services; None: what AWS_ENDPOINT_URL or
            AWS_ENDPOINT_URL_<SERVICE> say, else AWS itself.

    Raises:
        ToolError: no region is known.
    """

    def __init__(self, region: str | None = None, endpoint_url: str | None = None) -> None:
        self.endpoint_url = endpoint_url or None
        self._session = boto3.Session(region_name=region or os.environ.get("AWS_REGION"))
        if not self._session.region_name:
            raise ToolError("no region is known: give --region, or set AWS_REGION or the profile's region")
        self.region: str = self._session.region_name
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._account = ""
        self.owners: dict[str, str] = {}
        """The accounts of buckets that are not this one's, by the buckets' names."""

    @property
    def emulated(self) -> bool:
        """Whether an emulator stands in for AWS."""
        return bool(self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL"))

    def client(self, service: str) -> Any:
        """Returns the client of a service, such as `ec2`; the same one each time."""
        # Typed loosely: the stubs know one overload for each of some 400 service names, and none for a variable.
        session: Any = self._session
        with self._lock:
            if service not in self._clients:
                credentials: dict[str, str] = {}
                if self.emulated and session.get_credentials() is None:
                    credentials = _EMULATOR_CREDENTIALS
                self._clients[service] = session.client(
                    service,
                    endpoint_url=self.endpoint_url,
                    config=ClientConfig(
                        connect_timeout=5,
                        read_timeout=60,
                        retries={"mode": "standard", "total_max_attempts": 5},
                        # A bucket's name cannot be put before an emulator's host.
                        s3={"addressing_style": "path"} if self.emulated else {},
                        proxies={} if self.emulated else None,
                    ),
                    **credentials,
                )
                if service == "s3":
                    expect_owner(self._clients[service], lambda bucket: self.owners.get(bucket) or self.account)
            return self._clients[service]

    @property
    def account(self) -> str:
        """The account's twelve digits.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: there are no valid credentials.
        """
        if not self._account:
            try:
                self._account = str(self.client("sts").get_caller_identity()["Account"])
            except ClientError:
                if not self.emulated:
                    raise
                self._account = LOCAL_ACCOUNT  # the local stack's emulator offers no STS
        return self._account


def code_of(error: ClientError) -> str:
    """Returns AWS's code of an error, such as `AccessDenied`."""
    return str(error.response.get("Error", {}).get("Code", ""))


_CREDENTIALS: Final = "run `aws sso login` (or `aws login`), or set AWS_PROFILE, then try again"

_NO_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOError,
    SSOTokenLoadError,
    TokenRetrievalError,
)

_REFUSED: Final = frozenset({"InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "SignatureDoesNotMatch"})
"""What STS says of credentials that are wrong, old, or unknown in a region that the account has not enabled."""


def explain(error: BotoCoreError | ClientError) -> str:
    """Returns what went wrong with AWS, and what to do where that is known, in a line."""
    if is_about_credentials(error):
        return f"there are no AWS credentials ({error}): {_CREDENTIALS}"
    if not isinstance(error, ClientError):
        return f"talking to AWS failed: {error}"
    if code_of(error) in _REFUSED:
        return f"{describe(error)}: the credentials have expired or are wrong; {_CREDENTIALS}"
    return describe(error)


def is_about_credentials(error: BotoCoreError | ClientError) -> bool:
    """Whether nobody said who calls AWS."""
    return isinstance(error, _NO_CREDENTIALS)


def describe(error: BaseException) -> str:
    """Returns what went wrong in a line: of what AWS refused, which call and why."""
    if not isinstance(error, ClientError):
        return str(error)
    found = error.response.get("Error", {})
    # A proxy, or an emulator that lacks the operation, answers with a page.
    reason = " ".join(str(found.get("Message") or "").split())[:500]
    return f"AWS refused {error.operation_name}: {reason or 'no reason given'} ({found.get('Code')})"
