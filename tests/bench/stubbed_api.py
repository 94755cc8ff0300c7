"""`python -m tests.bench.stubbed_api`: the API with each call to AWS replaced by a wait of 20 ms, so that its own cost
shows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from botocore.exceptions import ClientError

from api.__main__ import serve
from api.aws import S3, Aws, Sns, Sqs
from api.settings import Settings, load_settings
from api.telemetry import configure_logging
from contract.config import load_config
from contract.links import Signer

CALL_SECONDS: Final = 0.02


class _Stub:
    """Answers any call after the same time: the answer has what each caller looks at."""

    def __getattr__(self, name: str) -> Any:
        async def call(**arguments: Any) -> dict[str, Any]:
            await asyncio.sleep(CALL_SECONDS)
            if name == "get_object":
                raise ClientError({"Error": {"Code": "NoSuchKey"}}, name)
            taken = [{"Id": entry["Id"]} for entry in arguments.get("PublishBatchRequestEntries", ())]
            answer = {"ETag": '"0"', "MessageId": "0", "QueueUrl": "http://127.0.0.1/queue", "Attributes": {}}
            return {**answer, "Successful": taken}

        return call


@asynccontextmanager
async def stubbed_aws(_: Settings) -> AsyncIterator[Aws]:
    """Opens nothing."""
    stub = _Stub()
    yield Aws(s3=cast("S3", stub), sns=cast("Sns", stub), sqs=cast("Sqs", stub), signer=cast("Signer", stub))


def main() -> int:
    """Serves until a signal ends it."""
    settings = load_settings()
    configure_logging(settings)
    return serve(settings, load_config(settings.config_file), aws=stubbed_aws)


if __name__ == "__main__":
    sys.exit(main())
