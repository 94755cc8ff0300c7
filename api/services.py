"""Everything that a request may need, made once per process and handed to the routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

from starlette.requests import Request

from api.agents import Agents
from api.auth import KeyRing
from api.aws import Aws
from api.callbacks import Callbacks
from api.callers import ByGateway, ByKey
from api.catalogues import Catalogues
from api.dead_letters import DeadLetters
from api.environments import Environments
from api.events import Streams
from api.feed import Feeds
from api.idempotency import Idempotency
from api.intake import Intake
from api.kept import KeptRequests
from api.lists import Lists
from api.metrics import Metrics
from api.part_uploads import PartUploads
from api.readiness import Readiness
from api.runtimes import Runtimes
from api.settings import Settings
from api.submit import Acceptance
from api.sweeps.deadlines import Deadlines
from api.sweeps.expiry import Expiry
from api.sweeps.sweeper import Sweeper
from api.sweeps.undelivered import Undelivered
from api.sweeps.verdicts import Rules
from api.tasks import Tasks
from api.throttle import Throttle
from api.tracing import Tracer, make_tracer
from api.uploads import Uploads
from api.usage import Usage
from api.webhooks import Webhooks
from contract.config import Config
from contract.links import Links
from contract.store import RecordStore
from contract.task_lists import TaskLists
from contract.topology import topology
from contract.webhook_secrets import Secrets

_LABEL_BYTES: Final = 12 * 1024
"""Of a context that holds the labels of one of Comfy's jobs; lists look for them."""


@dataclass(frozen=True, slots=True)
class Front:
    """What works without AWS: made before the server starts."""

    settings: Settings
    config: Config
    callers: ByKey | ByGateway
    throttle: Throttle
    intake: Intake
    metrics: Metrics
    streams: Streams
    tracer: Tracer
    stopping: asyncio.Event
    """Set when the server is about to end; event streams end with it."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes use."""

    front: Front
    callbacks: Callbacks
    acceptance: Acceptance
    idempotency: Idempotency
    tasks: Tasks
    feeds: Feeds
    dead_letters: DeadLetters
    lists: Lists
    task_lists: TaskLists
    kept_requests: KeptRequests
    runtimes: Runtimes
    agents: Agents
    catalogues: Catalogues
    environments: Environments
    readiness: Readiness
    uploads: Uploads
    part_uploads: PartUploads
    usage: Usage
    webhooks: Webhooks
    sweeper: Sweeper

    @property
    def loops(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """What runs beside the requests until the process ends."""
        return self.acceptance.settle, self.callbacks.run, self.sweeper.run


def make_front(settings: Settings, config: Config) -> Front:
    """Makes the parts that need no AWS."""
    throttle, metrics = config.api_gateway.throttle, Metrics()
    return Front(
        settings=settings,
        config=config,
        callers=_callers(settings),
        throttle=Throttle(throttle.rate_limit, throttle.burst_limit, time.monotonic),
        intake=Intake(settings.max_body_bytes, settings.request_seconds),
        metrics=metrics,
        streams=Streams(metrics.streams, settings.max_event_streams),
        tracer=make_tracer(settings),
        stopping=asyncio.Event(),
    )


def _callers(settings: Settings) -> ByKey | ByGateway:
    keys = KeyRing(settings.keys, shared=settings.api_keys_shared)
    if not settings.behind_gateway:
        return ByKey(keys)
    return ByGateway(settings.gateway_secrets, keys, shared=settings.api_keys_shared)


def make_services(front: Front, aws: Aws) -> Services:
    """Makes the parts that call AWS."""
    settings, config = front.settings, front.config
    clock = asyncio.get_running_loop().time
    interval = timedelta(seconds=settings.expiry_sweep_seconds)
    store = RecordStore(aws.s3, settings.s3_bucket)
    task_lists = TaskLists(aws.s3, settings.s3_bucket)
    callbacks = Callbacks(
        sns=aws.sns,
        topic_arn=settings.callback_topic_arn,
        store=store,
        lists=task_lists,
        bucket=settings.s3_bucket,
        with_error=settings.callback_errors,
    )
    place = topology(config, region=settings.aws_region)
    webhooks = Webhooks(
        sqs=aws.sqs,
        s3=aws.s3,
        bucket=settings.s3_bucket,
        queue=place.webhooks,
        allowed_origins=frozenset(settings.webhook_allowed_origins),
        look_seconds=settings.webhook_look_seconds,
    )
    webhooks.secrets = Secrets.parse(settings.webhook_secrets.get_secret_value())
    deadlines = Deadlines(
        s3=aws.s3,
        bucket=settings.s3_bucket,
        store=store,
        callbacks=callbacks,
        metrics=front.metrics,
        interval=settings.deadline_sweep_seconds,
    )
    acceptance = Acceptance(
        aws=aws,
        store=store,
        lists=task_lists,
        callbacks=callbacks,
        webhooks=webhooks,
        deadlines=deadlines,
        config=config,
        bucket=settings.s3_bucket,
        topic_arn=settings.task_topic_arn,
        message_bytes=settings.task_message_bytes,
        keep_requests=settings.keep_requests,
    )
    links = Links(aws.signer, cdn_base_url=settings.cdn_base_url, seconds=settings.presigned_seconds)
    tasks = Tasks(
        store=store, callbacks=callbacks, links=links, bucket=settings.s3_bucket, root_path=settings.root_path
    )
    return Services(
        front=front,
        callbacks=callbacks,
        acceptance=acceptance,
        idempotency=Idempotency(aws=aws, acceptance=acceptance, bucket=settings.s3_bucket),
        tasks=tasks,
        feeds=Feeds(s3=aws.s3, bucket=settings.s3_bucket, store=store, views=tasks, counter=front.metrics.looks),
        dead_letters=DeadLetters(
            sqs=aws.sqs,
            s3=aws.s3,
            lists=task_lists,
            config=config,
            place=place,
            bucket=settings.s3_bucket,
            clock=clock,
        ),
        lists=Lists(
            s3=aws.s3,
            bucket=settings.s3_bucket,
            store=store,
            context_bytes=_LABEL_BYTES if settings.comfy_api else 0,
        ),
        task_lists=task_lists,
        kept_requests=KeptRequests(s3=aws.s3, bucket=settings.s3_bucket, keeps=settings.keep_requests),
        runtimes=Runtimes(sqs=aws.sqs, config=config, place=place, clock=clock),
        agents=Agents(s3=aws.s3, bucket=settings.s3_bucket, clock=clock),
        catalogues=Catalogues(s3=aws.s3, bucket=settings.s3_bucket, clock=clock),
        environments=Environments(s3=aws.s3, bucket=settings.s3_bucket, clock=clock),
        readiness=Readiness(
            aws=aws,
            bucket=settings.s3_bucket,
            topics={"task_topic": settings.task_topic_arn, "callback_topic": settings.callback_topic_arn},
            stopping=front.stopping,
            clock=clock,
        ),
        uploads=Uploads(
            s3=aws.s3,
            signer=aws.signer,
            bucket=settings.s3_bucket,
            intake=front.intake,
            limit=settings.input_max_bytes,
            body_seconds=settings.request_seconds,
            link_seconds=settings.presigned_seconds,
        ),
        part_uploads=PartUploads(
            s3=aws.s3,
            signer=aws.signer,
            bucket=settings.s3_bucket,
            limit=settings.most_upload_bytes,
            link_seconds=settings.presigned_seconds,
        ),
        usage=Usage(s3=aws.s3, bucket=settings.s3_bucket),
        webhooks=webhooks,
        sweeper=Sweeper(
            expiry=Expiry(
                s3=aws.s3,
                bucket=settings.s3_bucket,
                store=store,
                callbacks=callbacks,
                metrics=front.metrics,
                rules=Rules.for_sweeps(expiry=timedelta(seconds=settings.expiry_seconds), interval=interval),
                interval=interval,
            ),
            expiry_interval=settings.expiry_sweep_seconds,
            undelivered=Undelivered(
                sqs=aws.sqs,
                place=place,
                store=store,
                callbacks=callbacks,
                metrics=front.metrics,
                interval=settings.undelivered_sweep_seconds,
                most_tries=settings.undelivered_tries,
            ),
            undelivered_interval=settings.undelivered_sweep_seconds,
            deadlines=deadlines,
            deadlines_interval=settings.deadline_sweep_seconds,
        ),
    )


def services_of(request: Request) -> Services:
    """Returns the services of the application that got the request."""
    return cast("Services", request.app.state.services)
