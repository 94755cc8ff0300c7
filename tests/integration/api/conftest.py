"""An API of each test's own, served over real sockets in the test's event loop, on the module's deployment."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from aiobotocore.session import AioSession
from botocore.exceptions import EndpointConnectionError

from api.app import create_app
from api.aws import Aws, open_aws
from api.cors import allowed_origins
from api.server import Server, server_config
from api.services import Front, make_front
from api.settings import Settings
from contract.config import Config
from contract.objects import LISTS
from tests.support.deployment import Deployment

StartApi = Callable[..., Awaitable["Api"]]


@dataclass(frozen=True)
class Api:
    """A running API and what a test needs beside it."""

    client: httpx.AsyncClient
    deployment: Deployment
    front: Front
    server: Server
    faults: Faults

    def messages(self, runtime: str, *, wait: int = 0) -> list[dict[str, Any]]:
        """Takes every message that waits in a runtime's queue, as the documents they hold."""
        sqs, url = self.deployment.clients.sqs, self.deployment.queue_url(runtime)
        taken = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait).get(
            "Messages", []
        ):
            for message in messages:
                taken.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            wait = 0
        return taken

    def message(self, runtime: str, task_id: str) -> dict[str, Any]:
        """Takes the one message of a task, and fails if there is none or more than one."""
        mine = [message for message in self.messages(runtime, wait=5) if message["metadata"]["id"] == task_id]
        assert len(mine) == 1, mine
        return mine[0]


class Faults:
    """Lets calls to AWS fail: `fail["publish"] = 1` fails the next one as if AWS could not be reached.

    `LISTS` stands for all calls about the lists of tasks.
    """

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.lose_answer: dict[str, int] = {}
        """As `fail`, but the call is made, and only its answer is lost."""
        self.hold: dict[str, asyncio.Event] = {}
        """Calls wait until it is set."""
        self.calls: Counter[str] = Counter()

    def around(self, client: Any) -> Any:
        faults = self

        class Wrapped:
            def __getattr__(self, of: str) -> Any:
                method = getattr(client, of)
                if of == "list_folder":
                    return method  # the one call with many answers

                async def call(*arguments: Any, **more: Any) -> Any:
                    # The lists of tasks go their own way beside all else.
                    name = LISTS if more.get("Key", "").startswith(LISTS) else of
                    faults.calls[name] += 1
                    if name in faults.hold:
                        await faults.hold[name].wait()
                    if faults.fail.get(name, 0) > 0:
                        faults.fail[name] -= 1
                        raise EndpointConnectionError(endpoint_url="http://nowhere")
                    answer = await method(*arguments, **more)
                    if faults.lose_answer.get(name, 0) > 0:
                        faults.lose_answer[name] -= 1
                        raise EndpointConnectionError(endpoint_url="http://nowhere")
                    return answer

                return call

        return Wrapped()


@pytest.fixture(scope="session")
def aws_session() -> AioSession:
    """The AWS session of all APIs here."""
    return AioSession()


@pytest.fixture
async def start_api(
    module_deployment: Deployment, aws_session: AioSession, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StartApi]:
    """Starts APIs with settings of the test's choice; `throttle` and `config` may replace the deployment's."""
    for name, value in module_deployment.aws_environment().items():
        monkeypatch.setenv(name, value)
    # One session for all: reading botocore's service descriptions takes longer than most of the tests.
    monkeypatch.setattr("api.aws.get_session", lambda: aws_session)
    place = module_deployment.place
    async with AsyncExitStack() as stack:

        async def start(*, config: Config | None = None, **more: Any) -> Api:
            settings = Settings(
                **{
                    "task_topic_arn": place.task_topic_arn,
                    "callback_topic_arn": place.callback_topic_arn,
                    "s3_bucket": place.output_bucket,
                    "aws_endpoint_url": module_deployment.endpoint,
                    "port": 0,
                    "grace_period_seconds": 1,
                    **more,
                }
            )
            config = config or throttled(module_deployment.config)
            front, faults = make_front(settings, config), Faults()

            @asynccontextmanager
            async def aws(settings: Settings) -> AsyncIterator[Aws]:
                async with open_aws(settings) as clients:
                    yield replace(
                        clients,
                        s3=faults.around(clients.s3),
                        sns=faults.around(clients.sns),
                        sqs=faults.around(clients.sqs),
                    )

            app = create_app(settings, config, aws=aws, front=front)
            addresses: list[str] = []
            server = Server(
                server_config(app, settings, allowed_origins(settings, config)), front.stopping, addresses.append
            )
            # `_serve` without uvicorn's signal handlers, which are the test runner's here.
            running = asyncio.create_task(server._serve())
            while not addresses:
                await asyncio.sleep(0.01)
                if running.done():
                    running.result()
                    raise AssertionError("the server did not start")
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=addresses[0], timeout=20, verify=False))

            async def stop() -> None:
                front.stopping.set()
                server.should_exit = True
                await running

            stack.push_async_callback(stop)
            return Api(client, module_deployment, front, server, faults)

        yield start


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    """An open API."""
    return await start_api()


def throttled(config: Config, *, rate_limit: float = 5000, burst_limit: int = 5000) -> Config:
    """Returns the config with another throttle; with one that no test runs into by chance if it says no more."""
    update = {"rate_limit": rate_limit, "burst_limit": burst_limit}
    throttle = config.api_gateway.throttle.model_copy(update=update)
    return config.model_copy(update={"api_gateway": config.api_gateway.model_copy(update={"throttle": throttle})})
