"""Decides which processes make up the stack, and what each of them is told."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from contract.config import Config, RuntimeConfig
from contract.objects import SAMPLE, s3_url
from contract.runtimes import KINDS
from contract.topology import Topology
from contract.webhooks import LOOPBACK
from local.clients import CREDENTIALS
from local.emulators.kinds import Kind
from local.folders import PROJECT
from local.harness.options import Options
from local.harness.ports import Ports, Worker
from local.harness.real import shown

AGENT_GRACE: Final = 10
"""Seconds that a running task may finish after Ctrl-C; a person waits for it."""

WEBHOOK_SECRET: Final = "webhooks of a stack on this machine"  # noqa: S105 - as the next line says
"""No secret: what it signs goes to this machine alone."""

_MODELS: Final = ("v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "dreamshaper_8.safetensors")

# Set by us or not at all: what a developer's shell has for real AWS must not leak in.
_FOREIGN_PREFIXES: Final = ("AWS_", "BOTO_", "FAKE_RUNTIME_", "OTEL_")
_FOREIGN: Final = frozenset(
    {"HOST", "PORT", "ROOT_PATH", "PUBLIC_S3_ENDPOINT_URL", "CALLBACK_SINK_URL", "S3_BUCKET", "CONFIG_FILE"}
)
_KEPT: Final = frozenset({"OTEL_EXPORTER_OTLP_ENDPOINT", "FAKE_RUNTIME_CATALOGUE"})
"""What is meant for this stack all the same; `nox -s record` says how its file is played back."""


class Stage(IntEnum):
    """The order in which processes are ended."""

    API = 0
    AGENT = 1
    RUNTIME = 2
    WEBHOOKS = 3
    SINK = 4
    EMULATOR = 5
    KEDA = 6
    CONTROL_PLANE = 7
    STORE = 8


@dataclass(frozen=True)
class Component:
    """One process of the stack."""

    name: str
    stage: Stage
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    ready_path: str
    stop_timeout: float = 5.0
    """Seconds between SIGTERM and SIGKILL."""
    listens: bool = False
    """The harness binds the port and hands the socket down; `{fd}` in the command stands for its number."""
    hears: bool = False
    """What all processes say is written to its standard input, one JSON document a line."""
    leash: bool = False
    """The process ends when its standard input does."""
    address: str = ""
    """Of a server that is not ours: it runs already, and is neither started nor ended."""
    runtime: str = ""
    """The component that is started again first when this one ends with `EXIT_RESTART_RUNTIME`."""
    host: str = "127.0.0.1"
    """Where it listens; another address of the loopback interface when it has one of its own."""
    secure: bool = False
    """It speaks TLS, by a certificate of its own cluster."""
    log: Path | None = None
    """Where its lines go instead of the terminal."""

    @property
    def url(self) -> str:
        """Its address."""
        return self.address or f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"

    @property
    def ready_url(self) -> str:
        """What answers 200 once it is ready."""
        return self.url + self.ready_path


@dataclass(frozen=True)
class Pair:
    """An agent, and the runtime that it alone drives."""

    runtime: Component
    agent: Component


def base_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Returns what every process of ours gets of the caller's environment."""
    kept = {
        name: value
        for name, value in inherited.items()
        if name in _KEPT or not (name in _FOREIGN or name.startswith(_FOREIGN_PREFIXES))
    }
    # A proxy cannot reach this machine's own address.
    own = "127.0.0.1,localhost"
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = f"{kept[name]},{own}" if kept.get(name) else own
    log_format = inherited.get("LOG_FORMAT", "console")
    return kept | {
        "PYTHONUNBUFFERED": "1",
        # Not ours to keep: without it, a dozen processes compile the same modules again at every start.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": str(PROJECT),
        "LOG_FORMAT": log_format,
        "FAKE_RUNTIME_LOG_FORMAT": log_format,
    }


def aws_environment(endpoint: str, region: str) -> dict[str, str]:
    """Returns the environment by which a process reaches the emulator, and nothing else that calls itself AWS."""
    return CREDENTIALS | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def runtimes(config: Config, options: Options, ports: Ports, inherited: Mapping[str, str]) -> list[Component]:
    """Returns the runtimes, fake ones and the example of `type: http`: they need nobody, and start first."""
    return [
        Component(
            name=name,
            stage=Stage.RUNTIME,
            command=(sys.executable, "-m", *program_of(runtime, config, options), "--port", str(worker.runtime)),
            environment=base_environment(inherited),
            port=worker.runtime,
            ready_path=KINDS[runtime.type].ready_path,
            address=shown(options.real.get(runtime.name, "")),
        )
        for runtime, name, worker in workers(config, options, ports)
    ]


def program_of(runtime: RuntimeConfig, config: Config, options: Options) -> list[str]:
    """Returns the module and the arguments that stand in for a runtime."""
    stand_in = KINDS[runtime.type].stand_in
    if stand_in != "fake_runtime":
        return [stand_in]
    program = [stand_in, "--type", runtime.type.value, "--models", ",".join(models_of(runtime, config))]
    program += ["--latency", f"{options.latency:g}"]
    if options.seconds_per_task is not None:
        program += ["--seconds-per-task", f"{options.seconds_per_task:g}"]
    return program


def agents(
    config: Config,
    place: Topology,
    options: Options,
    ports: Ports,
    inherited: Mapping[str, str],
    *,
    endpoint: str,
    queue_urls: Mapping[str, str],
    dead_letter_urls: Mapping[str, str],
    webhooks_url: str = "",
    signer: str = "",
) -> list[Component]:
    """Returns the agents; `queue_urls` and `dead_letter_urls` are by runtime, `signer` is `CREDENTIALS_SIGNER`."""
    return [
        Component(
            name=f"{name}-agent",
            stage=Stage.AGENT,
            command=(sys.executable, "-m", "agent"),
            environment=base_environment(inherited)
            | aws_environment(endpoint, place.region)
            | {
                "RUNTIME_NAME": runtime.name,
                "RUNTIME_TYPE": runtime.type.value,
                "AGENT_NAME": f"{name}-agent",
                "API_BASE_URL": options.real.get(runtime.name) or f"http://127.0.0.1:{worker.runtime}",
                "SQS_QUEUE_URL": queue_urls[runtime.name],
                "SQS_DLQ_URL": dead_letter_urls[runtime.name],
                "SNS_TOPIC_ARN": place.callback_topic_arn,
                "WEBHOOK_QUEUE_URL": webhooks_url,
                "S3_BUCKET": place.output_bucket,
                "RUNTIME_FAKE": "false" if runtime.name in options.real else "true",
                "DYNAMIC_SD_MODEL": "true" if runtime.dynamic_model else "false",
                # The sink has a sample picture to be named as an input.
                "INPUT_ALLOWED_ORIGINS": f"http://127.0.0.1:{ports.sink}",
                "GRACE_PERIOD_SECONDS": str(AGENT_GRACE),
                # Nobody here could start it again.
                "RECYCLE_BY": "nobody" if runtime.name in options.real else "exit",
                "HEALTH_HOST": "127.0.0.1",
                "HEALTH_PORT": str(worker.agent),
                **({"OUTPUTS": runtime.outputs.as_json()} if runtime.outputs.on else {}),
                **({"CREDENTIALS_SIGNER": signer} if runtime.outputs.content_credentials else {}),
            },
            port=worker.agent,
            ready_path="/readyz",
            stop_timeout=AGENT_GRACE + 5.0,
            runtime=name,
        )
        for runtime, name, worker in workers(config, options, ports)
    ]


def pairs(
    config: Config, options: Options, fakes: Iterable[Component], drivers: Iterable[Component]
) -> dict[str, dict[int, Pair]]:
    """Returns what `runtimes` and `agents` gave, by runtime and by number from 1."""
    both = iter(zip(fakes, drivers, strict=True))
    return {
        runtime.name: {number: Pair(*next(both)) for number in range(1, options.replicas + 1)}
        for runtime in config.runtimes
    }


def api(place: Topology, options: Options, ports: Ports, inherited: Mapping[str, str], *, endpoint: str) -> Component:
    """Returns the API."""
    return Component(
        name="api",
        stage=Stage.API,
        command=(sys.executable, "-m", "api"),
        environment=base_environment(inherited)
        | aws_environment(endpoint, place.region)
        | {
            "CONFIG_FILE": str(options.config.resolve()),
            "TASK_TOPIC_ARN": place.task_topic_arn,
            "CALLBACK_TOPIC_ARN": place.callback_topic_arn,
            "S3_BUCKET": place.output_bucket,
            "SAMPLE_IMAGE": s3_url(place.output_bucket, SAMPLE),
            "PUBLIC_S3_ENDPOINT_URL": endpoint,
            "CALLBACK_SINK_URL": f"http://127.0.0.1:{ports.sink}",
            **(_webhooks_environment(inherited) if ports.webhooks else {}),
            "HOST": "127.0.0.1",
            "PORT": str(ports.api),
            "GRACE_PERIOD_SECONDS": "5",
        },
        port=ports.api,
        ready_path="/readyz",
        stop_timeout=10.0,
    )


def webhooks(
    place: Topology, ports: Ports, inherited: Mapping[str, str], *, endpoint: str, queue_url: str
) -> Component:
    """Returns the deliverer of webhooks."""
    return Component(
        name="webhooks",
        stage=Stage.WEBHOOKS,
        command=(sys.executable, "-m", "webhooks"),
        environment=base_environment(inherited)
        | aws_environment(endpoint, place.region)
        | {
            "WEBHOOK_QUEUE_URL": queue_url,
            "S3_BUCKET": place.output_bucket,
            **_webhooks_environment(inherited),
            "HEALTH_HOST": "127.0.0.1",
            "HEALTH_PORT": str(ports.webhooks),
            "GRACE_PERIOD_SECONDS": "2",
        },
        port=ports.webhooks,
        ready_path="/readyz",
    )


def _webhooks_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Returns what the API and the deliverer are both told: whoever starts the stack may say otherwise."""
    usual = {"WEBHOOK_SECRETS": WEBHOOK_SECRET, "WEBHOOK_ALLOWED_ORIGINS": LOOPBACK}
    return {name: inherited.get(name) or value for name, value in usual.items()}


def sink(place: Topology, options: Options, ports: Ports, inherited: Mapping[str, str], *, endpoint: str) -> Component:
    """Returns the callback sink."""
    return Component(
        name="sink",
        stage=Stage.SINK,
        command=(
            *(sys.executable, "-m", "local", "sink"),
            *("--config", str(options.config.resolve())),
            *("--port", str(ports.sink)),
            "--lines",
        ),
        environment=base_environment(inherited) | aws_environment(endpoint, place.region),
        port=ports.sink,
        ready_path="/readyz",
        hears=True,
    )


def emulator(
    kind: Kind, python: Path, environment: Mapping[str, str], ports: Ports, *, keep: Path | None = None
) -> Component:
    """Returns the emulator, which runs in an environment of its own; `keep` is the file in which its state stays."""
    return Component(
        name=kind.name,
        stage=Stage.EMULATOR,
        command=(
            *(str(python), "-I", str(kind.serve), "--leash", "--fd", "{fd}"),
            *(() if keep is None else ("--keep", str(keep))),
        ),
        environment=environment,
        port=ports.localstack,
        ready_path=kind.health_path,
        listens=True,
        leash=True,
    )


def models_of(runtime: RuntimeConfig, config: Config) -> list[str]:
    """Returns the checkpoints that a fake runtime offers: its own alone if it holds one, else all that are known."""
    if runtime.static_checkpoint is not None:
        return [runtime.static_checkpoint]
    named = [item.model_filename for item in config.runtimes if item.model_filename is not None]
    return list(dict.fromkeys([*named, *_MODELS]))


def workers(config: Config, options: Options, ports: Ports) -> Iterator[tuple[RuntimeConfig, str, Worker]]:
    """Yields each pair's runtime, name and ports: all of one runtime's, then the next one's."""
    free = iter(ports.workers)
    for runtime in config.runtimes:
        for number in range(1, options.replicas + 1):
            yield runtime, runtime.name if options.replicas == 1 else f"{runtime.name}-{number}", next(free)
