"""The smoke test's parts: which requests go to whom, and how an image looks in a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cloud.aws import ToolError
from cloud.outputs import api_key_id, cluster_access
from cloud.smoke.journeys import REQUESTS, SAMPLE_IMAGE, Runtime, plan_journeys
from cloud.smoke.picture import draw
from tests.cloud.tools.conftest import Run

SEEDS = Path(__file__).parents[2] / "seeds"


def test_the_requests_are_the_ones_that_all_other_tests_send() -> None:
    names = sorted(path.name for path in REQUESTS.iterdir())
    assert len(names) == 5
    for name in names:
        assert json.loads((REQUESTS / name).read_text()) == json.loads((SEEDS / name).read_text())


def test_each_type_of_runtime_gets_what_the_reference_sends_it() -> None:
    runtimes = [
        Runtime("static", "sdwebui", "one.safetensors"),
        Runtime("dynamic", "sdwebui", None),
        Runtime("comfy", "comfyui", None),
        Runtime("other", "http", None),
    ]
    journeys = plan_journeys(runtimes, run="1")
    assert [journey.title for journey in journeys] == [
        "static: text-to-image (v1alpha2)",
        "static: image-to-image (v1alpha2)",
        "static: extra-single-image (v1alpha2)",
        "static: text-to-image (v1alpha1)",
        "dynamic: text-to-image (v1alpha2)",
        "dynamic: image-to-image (v1alpha2)",
        "dynamic: extra-single-image (v1alpha2)",
        "comfy: pipeline (v1alpha2)",
        "other: text-to-image (v1alpha2)",
    ]
    assert journeys[3].body["alwayson_scripts"]["sd_model_checkpoint"] == "one.safetensors"
    assert len({journey.task_id for journey in journeys}) == len(journeys)


def test_the_picture_that_requests_link_to_can_be_replaced() -> None:
    journeys = plan_journeys([Runtime("r", "sdwebui", None)], run="1", input_image="aGVsbG8=")
    texts = [json.dumps(journey.body) for journey in journeys]
    assert not [text for text in texts if SAMPLE_IMAGE in text]
    assert len([text for text in texts if "aGVsbG8=" in text]) == 2


def test_an_image_is_drawn_with_two_pixels_per_character(tmp_path: Path) -> None:
    file = tmp_path / "half.png"
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 32, 64, 64))
    image.save(file)
    drawn = draw(file, columns=8)
    assert drawn is not None
    lines = drawn.plain.splitlines()
    assert lines == ["▀" * 8] * 4
    assert str(drawn.spans[0].style) == "#ff0000 on #ff0000"
    assert str(drawn.spans[-1].style) == "#0000ff on #0000ff"


def test_a_file_that_is_no_image_is_not_drawn(tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(b"\0" * 100)
    assert draw(file) is None


@pytest.mark.parametrize(
    "command",
    [
        "aws apigateway get-api-keys --query 'items[?id==`abc123`].value' --include-values --output text",
        "aws apigateway get-api-key --api-key abc123 --include-value --query value --output text",
    ],
)
def test_the_keys_id_is_read_from_the_command_that_users_copy(command: str) -> None:
    assert api_key_id(command) == "abc123"


def test_a_command_that_names_no_key_is_refused() -> None:
    with pytest.raises(ToolError, match="--api-key"):
        api_key_id("aws apigateway get-api-keys")


def test_the_cluster_is_read_from_the_command_that_users_copy() -> None:
    found = cluster_access(
        "aws eks update-kubeconfig --name darkroom --region us-west-2 --role-arn arn:aws:iam::1:role/x"
    )
    assert (found.name, found.region, found.role_arn) == ("darkroom", "us-west-2", "arn:aws:iam::1:role/x")


def test_neither_and_both_of_stack_and_url_are_refused(run: Run) -> None:
    assert "--stack NAME or --url" in run("smoke").output
    assert run("smoke", "--stack", "a", "--url", "http://127.0.0.1:1").exit_code == 2
