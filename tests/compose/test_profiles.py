"""The other ways to start the stack: a second GPU, real runtimes on GPU or CPU, models, another LocalStack, watch."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.config import load_config
from contract.topology import topology
from local.clients import make_clients
from tests.compose.conftest import ROOT, Compose
from tests.support.models import model_bytes

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]

MODELS = "/opt/ml/code/models"
REAL = {"comfyui": 8188, "sdwebui": 7860}


def services(compose: Compose, *profiles: str, **environment: str) -> Any:
    """Returns what Compose would start, by name."""
    flags = [word for profile in profiles for word in ("--profile", profile)]
    return json.loads(compose.run(*flags, "config", "--format", "json", environment=environment))["services"]


def test_without_a_profile_the_fakes_start_and_with_another_one_they_do_not(unstarted: Compose) -> None:
    always = {"localstack", "provision", "reprovision", "api", "webhooks", "sink"}
    fakes = {name + part for name in ("sdruntime", "dynamicruntime", "comfyruntime") for part in ("", "-agent")}
    assert set(services(unstarted)) == always | fakes
    assert set(services(unstarted, "second-gpu")) == always | fakes | {"sdruntime-2", "sdruntime-2-agent"}
    real = {"models", "comfyui", "comfyui-agent", "sdwebui", "sdwebui-agent"}
    assert set(services(unstarted, "gpu")) == always | real
    assert set(services(unstarted, "comfyui")) == always | {"models", "comfyui", "comfyui-agent"}


@pytest.mark.parametrize("name", REAL)
def test_a_real_runtime_has_a_gpu_the_models_and_our_agent_in_front(name: str, unstarted: Compose) -> None:
    found = services(unstarted, "gpu")
    runtime, agent = found[name], found[f"{name}-agent"]
    (device,) = runtime["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    (mount,) = runtime["volumes"]
    assert (mount["type"], mount["target"], mount["read_only"]) == ("volume", MODELS, True)
    assert found["models"]["command"] == ["models", "pull", "--into", MODELS]
    assert found["models"]["volumes"][-1]["source"] == mount["source"]
    assert (runtime["read_only"], runtime["cap_drop"]) == (True, ["ALL"])
    assert "ports" not in runtime
    assert agent["image"] == services(unstarted)["sdruntime-agent"]["image"]
    assert agent["environment"]["API_BASE_URL"] == f"http://{name}:{REAL[name]}"
    config = load_config(ROOT / "config.yaml")
    served = config.runtime(agent["environment"]["RUNTIME_NAME"])
    assert served is not None
    assert served.type == agent["environment"]["RUNTIME_TYPE"] == name
    assert agent["environment"]["SQS_QUEUE_URL"].endswith(f"/{topology(config).queue(served.name).name}")
    assert runtime["environment"].get("SDWEBUI_CHECKPOINT") == served.static_checkpoint


def test_a_real_runtime_does_without_a_gpu_when_told(unstarted: Compose) -> None:
    for name in REAL:
        runtime = services(unstarted, "gpu", RUNTIME_DEVICE="cpu", RUNTIME_ARGS="--more")[name]
        assert "reservations" not in runtime.get("deploy", {}).get("resources", {})
        assert (runtime["environment"]["RUNTIME_DEVICE"], runtime["environment"]["RUNTIME_ARGS"]) == ("cpu", "--more")


@pytest.mark.parametrize("name", REAL)
def test_a_device_that_is_none_is_refused_at_start(name: str) -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "local/runtimes" / name / "start.sh")],
        env={"RUNTIME_DEVICE": "tpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "RUNTIME_DEVICE is 'tpu': it must be gpu or cpu\n")


def test_models_of_a_folder_source_of_a_checkout_and_images_of_ones_own_are_taken(unstarted: Compose) -> None:
    found = services(
        unstarted, "gpu", MODELS_FOLDER="/data/models", COMFYUI_SOURCE="../ComfyUI", RUNTIME_IMAGE="mine/runtime:1"
    )
    for name in REAL:
        (mount,) = found[name]["volumes"]
        assert (mount["type"], mount["source"], mount["read_only"]) == ("bind", "/data/models", True)
        assert found[name]["image"] == "mine/runtime:1"
    assert found["models"]["command"][-1] == "--dry-run"
    assert Path(found["comfyui"]["build"]["additional_contexts"]["source"]).is_absolute()
    sources = services(unstarted, "gpu")
    pinned = [url for name in REAL for url in sources[name]["build"]["additional_contexts"].values()]
    assert len(pinned) == 6
    for url in pinned:
        assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+\.git#(v[\d.]+|[0-9a-f]{40})", url), url


def test_no_registry_is_asked_for_what_is_built_here_unless_told(unstarted: Compose) -> None:
    profiles = ("fake", "second-gpu", "gpu")
    found = services(unstarted, *profiles)
    assert len(found) >= 17
    for name, service in found.items():
        assert service["pull_policy"] == "never", name
        assert "build" in service, name
    told = services(unstarted, *profiles, PULL_POLICY="missing", RUNTIME_IMAGE="mine/runtime:1")
    assert told["comfyui"]["pull_policy"] == "missing"


def test_another_localstack_is_taken(unstarted: Compose) -> None:
    found = services(unstarted, LOCALSTACK_IMAGE="mine/localstack:4", LOCALSTACK_READ_ONLY="false")["localstack"]
    assert found["image"] == "mine/localstack:4"
    assert not found.get("read_only")


def test_the_lighter_emulator_is_taken(unstarted: Compose) -> None:
    found = services(unstarted, EMULATOR="ministack")["localstack"]
    assert (found["image"], found["build"]["dockerfile"]) == ("darkroom/ministack", "local/ministack/Dockerfile")


def test_a_second_gpu_joins_the_first(compose: Compose) -> None:
    compose.run("--profile", "second-gpu", "up", "--wait", "--no-build", "--wait-timeout", "60")
    names = compose.run("ps", "--format", "{{.Service}} {{.Health}}")
    assert {"sdruntime-2 healthy", "sdruntime-2-agent healthy", "sdruntime healthy"} <= set(names.splitlines())


@pytest.mark.parametrize(
    ("name", "fake", "other"), [("comfyui", "comfyruntime", "sink"), ("sdwebui", "sdruntime", "sink")]
)
def test_the_probe_of_a_real_image_tells_a_server_that_answers(
    name: str, fake: str, other: str, compose: Compose
) -> None:
    text = (ROOT / "local/runtimes" / name / "Dockerfile").read_text().replace("\\\n", "")
    (probe,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.MULTILINE)

    def status(service: str) -> int:
        words = ["docker", "compose", "exec", "-T", service, *json.loads(probe)]
        return subprocess.run(words, cwd=ROOT, env=compose.environment, capture_output=True, check=False).returncode

    assert status(fake) == 0
    assert status("sink") != 0


def test_the_volume_of_the_runtimes_is_filled_from_the_model_bucket(compose: Compose) -> None:
    bucket = topology(load_config(ROOT / "config.yaml")).model_bucket
    s3 = make_clients(f"http://127.0.0.1:{compose.ports['LOCALSTACK_PORT']}").s3
    s3.put_object(Bucket=bucket, Key="Lora/style.safetensors", Body=model_bytes("a.lora_up.weight"))
    command = ["--profile", "gpu", "up", "--no-build", "--no-deps", "--exit-code-from", "models", "models"]
    assert "Lora/style.safetensors: fetched" in compose.run(*command)
    assert "Lora/style.safetensors: is there already" in compose.run(*command)


def test_watching_begins(compose: Compose) -> None:
    with subprocess.Popen(
        ["docker", "compose", "watch", "--no-up"],
        cwd=ROOT,
        env=compose.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert "Watch enabled" in process.stdout.readline()
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
