"""The routes that real servers lack: ordering faults, counting jobs, metrics."""

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fake_runtime.encoding import json_response
from fake_runtime.faults import Fault, FaultBook, FaultError, check_order
from fake_runtime.gpu.device import Gpu


class GpuCollector(Collector):
    """Reads the GPU's counters when Prometheus asks."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def collect(self) -> list[Metric]:
        """The metrics, all prefixed ``fake_runtime_``."""
        gpu = self._gpu
        busy = CounterMetricFamily("fake_runtime_gpu_busy_seconds", "Seconds that the GPU has worked")
        busy.add_metric([], gpu.busy_seconds)
        jobs = CounterMetricFamily("fake_runtime_jobs", "Jobs that ended", labels=["kind", "outcome"])
        for (kind, outcome), number in gpu.outcomes.items():
            jobs.add_metric([kind, outcome], number)
        loads = CounterMetricFamily("fake_runtime_model_loads", "Checkpoints loaded", labels=["model"])
        for model, number in gpu.model_loads.items():
            loads.add_metric([model], number)
        used = GaugeMetricFamily("fake_runtime_vram_used_bytes", "Video memory in use", value=gpu.bytes_in_use)
        total = GaugeMetricFamily("fake_runtime_vram_total_bytes", "Video memory of the GPU", value=gpu.total_bytes)
        running = GaugeMetricFamily("fake_runtime_jobs_running", "Jobs on the GPU", value=float(gpu.job is not None))
        started = GaugeMetricFamily("fake_runtime_start_time_seconds", "Start, since the epoch", value=gpu.started)
        return [busy, jobs, loads, used, total, running, started]


def add_routes(app: web.Application, gpu: Gpu, faults: FaultBook, runtime_type: str) -> None:
    """Adds ``/fake/faults``, ``/fake/jobs`` and ``/metrics``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GpuCollector(gpu))

    async def order_fault(request: web.Request) -> web.Response:
        if request.content_type != "application/json":  # which no page of another site can send unasked
            return json_response({"error": "send the header 'Content-Type: application/json'"}, 415)
        try:
            fault = Fault.from_fields(orjson.loads(await request.read()))
            check_order(fault, runtime_type)
        except (FaultError, orjson.JSONDecodeError) as error:
            return json_response({"error": str(error)}, 400)
        return json_response(faults.order(fault), 201)

    async def list_faults(_: web.Request) -> web.Response:
        return json_response(faults.describe())

    async def clear_faults(request: web.Request) -> web.Response:
        identifier = request.match_info.get("id")
        return json_response({"removed": faults.clear(None if identifier is None else int(identifier))})

    async def list_jobs(_: web.Request) -> web.Response:
        return json_response(gpu.describe_jobs())

    async def forget_jobs(_: web.Request) -> web.Response:
        forgotten = len(gpu.records)
        gpu.records.clear()
        return json_response({"removed": forgotten})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_post("/fake/faults", order_fault)
    app.router.add_get("/fake/faults", list_faults)
    app.router.add_delete("/fake/faults", clear_faults)
    app.router.add_delete(r"/fake/faults/{id:\d+}", clear_faults)
    app.router.add_get("/fake/jobs", list_jobs)
    app.router.add_delete("/fake/jobs", forget_jobs)
    app.router.add_get("/metrics", metrics)
