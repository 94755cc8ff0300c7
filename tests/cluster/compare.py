"""Draws what KEDA and the HPA do with five loads over what `contract/scaling` foretells for the same queue.

    .nox/cluster-test/bin/python -m tests.cluster.compare --out docs/cluster-scaling.svg

starts a cluster with a runtime for each load, sends all five at once, and looks at queues and replicas each second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import matplotlib as mpl

from cluster.api import ApiError, ApiServer
from cluster.state import ClusterState
from contract.config import load_config
from contract.scaling.autoscaler import Autoscaler
from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling, scaling_by_runtime
from local.clients import make_clients
from local.harness.autoscale import read_backlog
from tests.cluster.running import started

PERIOD: Final = 15.0
"""Seconds between two decisions of the HPA's; when they fall cannot be told beforehand."""
TASK_SECONDS: Final = 4
_SCALING: Final = {
    "queueLength": 5,
    "maxReplicaCount": 4,
    "cooldownPeriod": 30,
    "extraHPAConfig": {"scaleDown": {"stabilizationWindowSeconds": 60}},
}
LOADS: Final[dict[str, list[tuple[float, int]]]] = {
    # Seconds after the begin, and how many tasks are sent then.
    "one-burst": [(0, 40)],
    "single-tasks": [(second, 1) for second in range(0, 200, 20)],
    "rising-rate": [(second, 1 + second // 40) for second in range(0, 160, 4)],
    "two-bursts": [(0, 20), (90, 20)],
    "burst-then-one": [(0, 30), (150, 1)],
}
LENGTH: Final = 330.0
"""Seconds."""


@dataclass(frozen=True)
class Moment:
    """One look at one runtime."""

    at: float
    """Seconds after the begin."""
    backlog: Backlog
    replicas: int
    """Of the Deployment, as the cluster wants them."""


def foretold(scaling: Scaling, moments: Sequence[Moment]) -> list[int]:
    """Returns the replicas that our rules want at each moment, told the queue that was seen."""
    autoscaler = Autoscaler(scaling, began=moments[0].at)
    autoscaler.wanted = moments[0].replicas
    return [autoscaler.decide(moment.at, moment.backlog) for moment in moments]


def apart(moments: Sequence[Moment], wanted: Sequence[int], *, period: float = PERIOD, by: int = 1) -> list[float]:
    """Returns the moments at which reality was never near within one period before or after."""
    found = []
    for moment, number in zip(moments, wanted, strict=True):
        near = [other.replicas for other in moments if abs(other.at - moment.at) <= period]
        if not min(near) - by <= number <= max(near) + by:
            found.append(moment.at)
    return found


def config_text() -> str:
    """Returns a config.yaml with a runtime for each load."""
    runtimes = [
        {"name": name, "namespace": "compare", "type": "sdwebui", "dynamicModel": True}
        | {"extraValues": {"runtime": {"scaling": _SCALING}}}
        for name in LOADS
    ]
    return json.dumps({"stackName": "compare", "modelsRuntime": runtimes})


async def look(state: ClusterState, queues: dict[str, str]) -> dict[str, list[Moment]]:
    """Sends the loads, and looks each second."""
    sqs = make_clients(state.endpoint, connections=16).sqs
    api = _api(state)
    found: dict[str, list[Moment]] = {name: [] for name in LOADS}
    began = time.monotonic()
    async with httpx.AsyncClient(base_url=state.api, trust_env=False, timeout=60) as http, asyncio.TaskGroup() as group:
        for name, load in LOADS.items():
            group.create_task(_send(http, name, load, began))
        while (at := time.monotonic() - began) < LENGTH:
            backlogs = await asyncio.gather(*(read_backlog(sqs, queues, name) for name in LOADS))
            try:
                deployments = await api.call("GET", "/apis/apps/v1/namespaces/compare/deployments")
            except ApiError:
                continue
            replicas = {item["metadata"]["name"]: item["spec"]["replicas"] for item in deployments["items"]}
            for name, backlog in zip(LOADS, backlogs, strict=True):
                if backlog is not None:
                    found[name].append(Moment(at, backlog, replicas[name]))
            await asyncio.sleep(max(0.0, at + 1 - (time.monotonic() - began)))
    await api.close()
    return found


def _api(state: ClusterState) -> ApiServer:
    path = Path(state.kubeconfig)
    server = json.loads(path.read_text(encoding="utf-8"))["clusters"][0]["cluster"]["server"]
    return ApiServer(server, path.parent / "pki" / "ca.crt", path.parent / "pki" / "admin.crt")


async def _send(http: httpx.AsyncClient, runtime: str, load: list[tuple[float, int]], began: float) -> None:
    for second, count in load:
        await asyncio.sleep(max(0.0, began + second - time.monotonic()))
        for number in range(count):
            metadata = {"id": f"{runtime}-{second:g}-{number}", "runtime": runtime, "tasktype": "text-to-image"}
            metadata |= {"prefix": "out", "context": ""}
            content = {"prompt": "a dog", "steps": 4, "width": 64, "height": 64, "alwayson_scripts": {}}
            answer = await http.post("/v1alpha2", json={"task": {"metadata": metadata, "content": content}})
            answer.raise_for_status()


def draw(path: Path, found: dict[str, list[Moment]], scaling: dict[str, Scaling]) -> None:
    """Draws queue, reality and what was foretold, a row for each load."""
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "darkroom", "svg.fonttype": "none", "savefig.facecolor": "white"}
    from matplotlib import pyplot as plt

    figure, rows = plt.subplots(len(found), 1, sharex=True, figsize=(9, 1.9 * len(found)), layout="constrained")
    for axes, (name, moments) in zip(rows, found.items(), strict=True):
        at = [moment.at for moment in moments]
        messages = axes.twinx()
        queue = [moment.backlog.visible + moment.backlog.in_flight for moment in moments]
        messages.fill_between(at, queue, color="0.88", step="post", label="messages")
        messages.set_ylim(0, max(10, *queue) * 1.1)
        messages.tick_params(labelsize=7, colors="0.55")
        axes.set_zorder(messages.get_zorder() + 1)
        axes.patch.set_visible(False)
        axes.step(at, [moment.replicas for moment in moments], where="post", color="#0b6", lw=2, label="the cluster")
        wanted = foretold(scaling[name], moments)
        axes.step(at, wanted, where="post", color="#d33", lw=1.2, ls="--", label="contract/scaling")
        axes.set_title(name.replace("-", " "), fontsize=9, loc="left")
        axes.set_ylim(0, 4.6)
        axes.tick_params(labelsize=8)
    rows[0].legend(fontsize=8, loc="upper right")
    rows[-1].set_xlabel("seconds (replicas on the left, messages, grey, on the right)", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Runs the comparison; returns 1 when reality and rules are apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/cluster-scaling.svg"))
    parser.add_argument("--data", type=Path, help="where what was seen is written")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), config_text(), nodes=20, seconds_per_task=TASK_SECONDS) as state,
    ):
        config = load_config(Path(state.config))
        scaling = dict(scaling_by_runtime(config))
        sqs = make_clients(state.endpoint).sqs
        queues = {name: sqs.get_queue_url(QueueName=f"compare-{name}")["QueueUrl"] for name in LOADS}
        found = asyncio.run(look(state, queues))
    if arguments.data:
        seen = {name: [[item.at, asdict(item.backlog), item.replicas] for item in each] for name, each in found.items()}
        arguments.data.write_text(json.dumps(seen, default=str), encoding="utf-8")
    draw(arguments.out, found, scaling)
    status = 0
    for name, moments in found.items():
        wanted = foretold(scaling[name], moments)
        off = apart(moments, wanted)
        status |= bool(off)
        print(f"{name}: {len(moments)} looks, apart at {[round(at) for at in off] or 'none'}; reality {_run(moments)}")
    return status


def _run(moments: Sequence[Moment]) -> Any:
    """Returns the changes: second and replicas."""
    changes, last = [], None
    for moment in moments:
        if moment.replicas != last:
            changes.append((round(moment.at), moment.replicas))
            last = moment.replicas
    return changes


if __name__ == "__main__":
    sys.exit(main())
