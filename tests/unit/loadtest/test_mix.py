"""The mix: what is sent is what the API takes, by weight, and what a deployment cannot serve is refused."""

from __future__ import annotations

import base64
import io
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.requests import from_v1, from_v1alpha2
from contract.config import load_config
from contract.runtimes import KINDS
from contract.task import RuntimeType
from loadtest.mix import Api, Input, MixError, Work, body, check_mix, choose, default_mix, inline_picture
from loadtest.scenario import Scenario
from loadtest.session import check_load
from loadtest.shapes import Replay

CONFIG = load_config(Path(__file__).parents[3] / "config.yaml")
NAMES = {RuntimeType.SDWEBUI: "sdruntime", RuntimeType.COMFYUI: "comfyruntime"}
EVERY = [
    Work(runtime=NAMES[kind], tasktype=tasktype, api=api, input=given_by)
    for kind in NAMES
    for tasktype in sorted(KINDS[kind].task_types)
    for api in Api
    for given_by in Input
]


@pytest.mark.parametrize("work", EVERY, ids=lambda work: f"{work.api} {work.label} {work.input}")
def test_the_api_takes_every_request(work: Work) -> None:
    read = from_v1alpha2 if work.api is Api.V1ALPHA2 else from_v1
    request = read(body(work, "lt-1", number=1, sample_image="http://127.0.0.1/cat.png"), CONFIG)
    assert (request.task_id, request.runtime.name, request.task_type) == ("lt-1", work.runtime, work.tasktype)


@given(st.integers(0, 10**9))
def test_no_two_tasks_ask_for_the_same_picture(number: int) -> None:
    work = Work(runtime="sdruntime", tasktype="text-to-image")
    one, other = (body(work, "a", number=item, sample_image="") for item in (number, number + 1))
    assert one["task"]["content"] != other["task"]["content"]


def test_the_inline_picture_is_one() -> None:
    image = Image.open(io.BytesIO(base64.b64decode(inline_picture())))
    image.load()
    assert image.size == (64, 64)


def test_parts_are_chosen_by_weight() -> None:
    chance = random.Random(1)
    mix = [
        Work(runtime="sdruntime", tasktype="text-to-image", weight=3),
        Work(runtime="comfyruntime", tasktype="pipeline"),
    ]
    found = Counter(choose(mix, chance).runtime for _ in range(4000))
    assert 2.5 < found["sdruntime"] / found["comfyruntime"] < 3.5
    assert choose(mix, chance, runtime="comfyruntime").tasktype == "pipeline"
    with pytest.raises(MixError, match="holds no pipeline for sdruntime"):
        choose(mix, chance, runtime="sdruntime", tasktype="pipeline")


def test_the_usual_mix_reaches_every_runtime() -> None:
    mix = default_mix(CONFIG)
    assert {work.runtime for work in mix} == {runtime.name for runtime in CONFIG.runtimes}
    check_mix(mix, CONFIG, "")


def test_what_a_deployment_cannot_serve_is_refused_with_its_key() -> None:
    stranger = Work(runtime="nobody", tasktype="text-to-image")
    with pytest.raises(MixError, match=r"mix\.0\.runtime: 'nobody' is not deployed"):
        check_mix([stranger], CONFIG, "")
    link = Work(runtime="sdruntime", tasktype="image-to-image", input=Input.LINK)
    with pytest.raises(MixError, match=r"mix\.0\.input"):
        check_mix([link], CONFIG, "")
    check_mix([link], CONFIG, "http://127.0.0.1/cat.png")


def test_a_replay_of_tasks_that_the_mix_does_not_hold_is_refused_before_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    scenario = Scenario(shape=Replay(kind="replay", file=path))
    path.write_text("time,runtime,tasktype\n0,sdruntime,\n1,,pipeline\n2,,\n")
    check_load(scenario, CONFIG, "")
    path.write_text("time,runtime\n0,sdruntime\n1,nobody\n")
    with pytest.raises(MixError, match=r"no task for nobody, which the replay names; it holds comfyruntime pipeline"):
        check_load(scenario, CONFIG, "")
