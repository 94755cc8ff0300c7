"""The dashboard asks for metrics that there are, of parts that Compose starts under these names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from agent.operations.metrics import Metrics as AgentMetrics
from api.metrics import Metrics as ApiMetrics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "local" / "observability"
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]


def test_each_metric_of_the_dashboard_is_one_of_ours() -> None:
    known = {"up", "process_resident_memory_bytes"}
    for metrics in (ApiMetrics(), AgentMetrics("sdruntime")):
        for family in metrics.registry.collect():
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            known |= {family.name + ending for ending in endings}
    panels = json.loads((FOLDER / "grafana/dashboards/darkroom.json").read_text("utf-8"))["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"\b(?:darkroom_\w+|process_\w+|up)\b", target["expr"])
    }
    assert len(asked) > 12
    assert asked <= known
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_asks_each_part_where_compose_serves_its_metrics() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    targets = {
        target for job in config["scrape_configs"] for item in job["static_configs"] for target in item["targets"]
    }
    ports = {"api": "8000", "webhooks": "8081"}
    agents = {
        name: service["environment"]["HEALTH_PORT"]
        for name, service in SERVICES.items()
        if "RUNTIME_NAME" in service.get("environment", {}) and set(service.get("profiles", [])) & {"fake"}
    }
    assert len(agents) == 3
    assert targets == {f"{name}:{port}" for name, port in {**ports, **agents}.items()}


def test_what_is_told_of_each_other_fits() -> None:
    environment = dict(
        line.split("=", 1) for line in (FOLDER / "compose.env").read_text("utf-8").splitlines() if "=" in line
    )
    assert environment["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    collector = yaml.safe_load((FOLDER / "collector.yaml").read_text("utf-8"))
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    [sources] = yaml.safe_load_all(
        (FOLDER / "grafana/provisioning/datasources/darkroom.yaml").read_text(encoding="utf-8")
    )
    hosts = {source["url"].split("/")[2].partition(":")[0] for source in sources["datasources"]}
    hosts |= {collector["exporters"]["otlp"]["endpoint"].partition(":")[0], "grafana", "collector"}
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["observability"]} == hosts
    for name in hosts:
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"]), name
