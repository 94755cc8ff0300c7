"""Tells an outage of AWS, which ends by itself or when somebody has put it right, from a refusal."""

from __future__ import annotations

from typing import Final

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from contract.store import ContendedRecordError, error_code

_OUTAGE_CODES: Final = frozenset(
    {
        # Throttling (botocore's standard retry mode has the same list).
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "KmsThrottled",
        "KMSThrottling",
        "PriorRequestNotComplete",
        "SlowDown",
        "RequestTimeout",
        "RequestTimeoutException",
        # Credentials that were rotated, have expired, or are not there yet: new ones come without a restart.
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestExpired",
        # This machine's clock is wrong.
        "RequestTimeTooSkewed",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "UnrecognizedClientException",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        # A permission or resource that somebody will put right; nothing here can be decided without it.
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "KmsAccessDenied",
        "KMSAccessDenied",
        "KmsDisabled",
        "KMSDisabled",
        "KmsInvalidState",
        "KMSInvalidState",
        "KmsNotFound",
        "KMSNotFound",
        "NoSuchBucket",
        "NotFound",  # SNS: the topic; S3 says NoSuchKey, or the bare status
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
    }
)


OUTAGES: Final = (BotoCoreError, ClientError, aiohttp.ClientError, TimeoutError, OSError, ContendedRecordError)
"""What a call may raise when AWS is out of reach; `is_outage` decides."""


_GONE_CODES: Final = frozenset(
    {"NoSuchBucket", "NotFound", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}
)


def is_gone(error: BaseException) -> bool:
    """Tells whether AWS answers, but has no such topic, queue or bucket: it is an emulator that was started again."""
    return isinstance(error, ClientError) and error_code(error) in _GONE_CODES


def is_denied(error: BaseException) -> bool:
    """Tells whether AWS answers that this process may not do it."""
    return isinstance(error, ClientError) and error_code(error) in {"AccessDenied", "AccessDeniedException"}


def is_outage(error: BaseException) -> bool:
    """Tells whether an error may go away by itself, or once somebody has put AWS right."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or error_code(error) in _OUTAGE_CODES
    return isinstance(error, OUTAGES) and not isinstance(error, ParamValidationError)
