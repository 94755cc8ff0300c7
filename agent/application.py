"""Puts the agent together from its settings, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agent.aws import open_clients
from agent.callbacks import Callbacks
from agent.catalogue import CatalogueKeeper, TellsNodes
from agent.completion import Completion
from agent.environment import EnvironmentKeeper
from agent.holdings import Holdings
from agent.inputs import Inputs, fetch
from agent.inputs.payloads import Payloads
from agent.meter import Meter, price_of
from agent.model_digests import ModelDigests
from agent.nudges import Nudges
from agent.operations.gen_ai import attributes_of
from agent.operations.health import HealthServer
from agent.operations.lifecycle import Lifecycle, LifecycleCollector
from agent.operations.metrics import Metrics
from agent.operations.pod import PodDeletionCost, find_pod
from agent.operations.presence import Presence
from agent.operations.recycling import Limits, Recycling, RuntimeMemory
from agent.operations.telemetry import make_tracer
from agent.operations.warm_up import WarmUp
from agent.outputs import Outputs
from agent.pipeline import Pipeline
from agent.preparation import Preparation
from agent.release import open_release
from agent.runtimes import make_runtime, open_session
from agent.settings import Settings
from agent.task_queue import TaskQueue
from contract.identifiers import new_ulid
from contract.outbound import parse_origins
from contract.store import RecordStore
from contract.task_lists import TaskLists

log = structlog.get_logger()


def _input_limits(settings: Settings) -> fetch.Limits:
    """Returns the limits of links; what is not a setting follows from what is."""
    seconds = settings.input_timeout_seconds
    usual = fetch.Limits()
    return fetch.Limits(
        links=settings.input_max_links,
        bytes_per_link=settings.input_max_bytes,
        bytes_per_task=max(settings.input_max_bytes_per_task, settings.input_max_bytes),
        connect_seconds=min(usual.connect_seconds, seconds),
        idle_seconds=min(usual.idle_seconds, seconds),
        seconds_per_link=seconds,
        # As many rounds as the default limits allow.
        seconds_per_task=seconds * usual.seconds_per_task / usual.seconds_per_link,
    )


async def run_agent(settings: Settings, stop: asyncio.Event) -> bool:
    """Runs an agent until `stop` is set and what it holds is finished or handed back.

    Returns:
        Whether it has ended because its runtime is to be restarted.

    Raises:
        contract.worker_probes.CannotListenError: the health port is in use.
        agent.marks.signer.WrongSignerError: results are to be signed, and cannot be.
    """
    async with AsyncExitStack() as stack:
        clients = await open_clients(
            stack, region=settings.aws_region, bucket=settings.s3_bucket, emulated=bool(settings.aws_endpoint_url)
        )
        session = await stack.enter_async_context(open_session(settings.runtime_token.get_secret_value()))
        tracer = make_tracer(settings)
        stack.callback(tracer.close)

        metrics = Metrics(settings.runtime_name)
        release = await stack.enter_async_context(open_release(settings, metrics))
        holdings = Holdings()
        store = RecordStore(clients.s3, settings.s3_bucket)
        lists = TaskLists(clients.s3, settings.s3_bucket)
        stack.push_async_callback(lists.flush)
        payloads = Payloads(clients.s3, settings.s3_bucket)
        queue = TaskQueue(
            clients.sqs,
            settings.sqs_queue_url,
            dead_letter_url=settings.sqs_dlq_url,
            visibility_timeout=settings.visibility_timeout,
            finishing=holdings.finishing,
        )
        inputs = Inputs(
            fetch.Fetcher(_input_limits(settings), parse_origins(settings.input_allowed_origins)),
            clients.s3,
            settings.s3_bucket,
            settings.input_s3_buckets,
        )
        runtime = make_runtime(
            settings.runtime_type,
            settings.api_base_url,
            session,
            inputs,
            settings.dynamic_sd_model,
            most_bytes=settings.output_max_bytes,
        )
        stack.push_async_callback(runtime.close)

        environment = EnvironmentKeeper(
            runtime,
            clients.s3,
            settings.s3_bucket,
            settings.runtime_name,
            image=settings.runtime_image,
            fake=settings.runtime_fake,
            digests=ModelDigests(settings.models_folder, settings.models_digests_file)
            if settings.models_folder is not None
            else None,
        )
        await stack.enter_async_context(_beside(environment.run(), "environment"))

        lifecycle = Lifecycle()
        metrics.registry.register(LifecycleCollector(lifecycle))
        warm_up = WarmUp(settings.warmup_request, timeout=settings.warmup_timeout_seconds)
        recycling = Recycling(
            settings.recycle_by,
            Limits(
                tasks=settings.recycle_after_tasks,
                resident_bytes=settings.recycle_above_rss_bytes,
                stuck_after=settings.recycle_stuck_after_seconds,
            ),
            RuntimeMemory(runtime, settings.api_base_url),
            settings.recycle_file,
        )

        process = f"{socket.gethostname()}-{new_ulid()}"
        runs = itertools.count(1)
        price = price_of(settings)
        if price is not None and price.usd is None:
            log.warning("gpu_price_unknown", reason=price.source)
        meter = Meter(price)
        pipeline = Pipeline(
            queue=queue,
            store=store,
            runtime=runtime,
            holdings=holdings,
            preparation=Preparation(
                holdings=holdings,
                store=store,
                lists=lists,
                payloads=payloads,
                runtime=runtime,
                runtime_type=settings.runtime_type,
                visibility_timeout=settings.visibility_timeout,
                release=release,
                environment=environment,
                describe=partial(attributes_of, settings.runtime_type) if tracer.on else None,
            ),
            completion=Completion(
                queue=queue,
                store=store,
                outputs=Outputs(clients.s3, settings.s3_bucket),
                payloads=payloads,
                callbacks=Callbacks(
                    clients.sns,
                    settings.sns_topic_arn,
                    bucket=settings.s3_bucket,
                    with_error=settings.callback_errors,
                    finishing=holdings.finishing,
                ),
                lists=lists,
                metrics=metrics,
                runtime_name=settings.runtime_name,
                visibility_timeout=settings.visibility_timeout,
                new_holder=lambda: f"{process}/{next(runs)}",
                fake=settings.runtime_fake,
                environment=lambda: environment.hash,
                nudges=Nudges(clients.sqs, settings.webhook_queue_url),
                meter=meter,
            ),
            metrics=metrics,
            tracer=tracer,
            visibility_timeout=settings.visibility_timeout,
            prefetch=settings.prefetch,
            slots=settings.slots,
            task_timeout=settings.task_timeout_seconds,
            grace_period=settings.grace_period_seconds,
            warm_up=warm_up,
            recycling=recycling,
            lifecycle=lifecycle,
            release=release,
            meter=meter,
            environment=environment,
        )
        health = HealthServer(
            pipeline,
            holdings,
            metrics,
            runtime=settings.runtime_name,
            lifecycle=lifecycle,
            warm_up=warm_up,
            recycling=recycling,
        )
        await stack.enter_async_context(_deletion_cost(settings, holdings))
        if settings.status_interval_seconds:
            presence = Presence(
                clients.s3,
                settings.s3_bucket,
                runtime=settings.runtime_name,
                interval=settings.status_interval_seconds,
                host=settings.agent_name or settings.pod_name,
                version=settings.agent_version,
                slots=settings.slots,
                lifecycle=lifecycle,
                pipeline=pipeline,
                recycling=recycling,
                holdings=holdings,
                metrics=metrics,
                environment=lambda: environment.hash,
            )
            stack.push_async_callback(presence.end)
            await stack.enter_async_context(_beside(presence.run(), "presence"))
        if isinstance(runtime, TellsNodes):
            keeper = CatalogueKeeper(runtime, clients.s3, settings.s3_bucket, settings.runtime_name)
            await stack.enter_async_context(_beside(keeper.run(), "catalogue"))
        await stack.enter_async_context(health.listen(settings.health_host, settings.health_port))
        await pipeline.run(stop)
    return recycling.exiting


@asynccontextmanager
async def _deletion_cost(settings: Settings, holdings: Holdings) -> AsyncIterator[None]:
    """Keeps the pod's deletion cost up to date while the context lasts, if there is a pod."""
    pod, why_not = find_pod(
        host=settings.kubernetes_service_host,
        port=settings.kubernetes_service_port,
        namespace=settings.pod_namespace,
        name=settings.pod_name,
        folder=Path(settings.service_account_folder),
    )
    if pod is None:
        log.info("pod_deletion_cost_off", reason=why_not)
        yield
        return
    async with _beside(PodDeletionCost(pod, lambda: len(holdings) > 0).run(), "pod deletion cost"):
        yield


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Does something beside the rest while the context lasts; what breaks it off is logged."""

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work_broke_off", work=name, exc_info=error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
