"""SD Web UI: every error body that is known of the real server."""

import base64
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fake_runtime.sdwebui import schema
from tests.unit.fake_runtime.support import Server, encode, serving

PICTURE = encode(Image.new("RGB", (8, 8)))


def http_exception(detail: str) -> dict[str, str]:
    return {"error": "HTTPException", "detail": detail, "body": "", "errors": ""}


def exception(name: str, text: str) -> dict[str, str]:
    return {"error": name, "detail": "", "body": "", "errors": text}


def validation(field: str, message: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"detail": [{"loc": ["body", *field.split("/")], "msg": message, "type": kind, **more}]}


ERRORS: dict[str, tuple[str, Any, int, Any]] = {
    "unknown sampler": ("txt2img", {"sampler_name": "zz"}, 404, http_exception("Sampler not found")),
    "unknown sampler by index": ("txt2img", {"sampler_index": "zz"}, 404, http_exception("Sampler not found")),
    "bad base64 image": ("img2img", {"init_images": ["zz"]}, 500, http_exception("Invalid encoded image")),
    "bad base64 mask": (
        "img2img",
        {"init_images": [PICTURE], "mask": "zz"},
        500,
        http_exception("Invalid encoded image"),
    ),
    "bad base64 to upscale": ("extra-single-image", {"image": "zz"}, 500, http_exception("Invalid encoded image")),
    "nothing to upscale": ("extra-single-image", {}, 500, http_exception("Invalid encoded image")),
    "link as image": ("img2img", {"init_images": ["http://127.0.0.1/"]}, 500, http_exception("Requests not allowed")),
    "no init images": ("img2img", {}, 404, http_exception("Init image not found")),
    "init images null": ("img2img", {"init_images": None}, 404, http_exception("Init image not found")),
    "init images empty": ("img2img", {"init_images": []}, 500, exception("IndexError", "list index out of range")),
    "unknown checkpoint option": (
        "options",
        {"sd_model_checkpoint": "nope"},
        500,
        exception("RuntimeError", "model 'nope' not found"),
    ),
    "unknown script": ("txt2img", {"script_name": "x"}, 422, http_exception("Script 'x' not found")),
    "unknown always-on script": (
        "txt2img",
        {"alwayson_scripts": {"task": "text-to-image"}},
        422,
        http_exception("Script 'task' not found"),
    ),
    "selectable script as always-on": (
        "txt2img",
        {"alwayson_scripts": {"x/y/z plot": {}}},
        422,
        http_exception("Cannot have a selectable script in the always on scripts params"),
    ),
    "unknown upscaler": (
        "extra-single-image",
        {"image": PICTURE, "upscaler_1": "x"},
        500,
        exception("AssertionError", "could not find upscaler named x"),
    ),
    "wrong integer": (
        "txt2img",
        {"steps": "many"},
        422,
        validation("steps", "value is not a valid integer", "type_error.integer"),
    ),
    "wrong number": (
        "txt2img",
        {"cfg_scale": []},
        422,
        validation("cfg_scale", "value is not a valid float", "type_error.float"),
    ),
    "wrong text": ("txt2img", {"prompt": {}}, 422, validation("prompt", "str type expected", "type_error.str")),
    "wrong list": (
        "img2img",
        {"init_images": "x"},
        422,
        validation("init_images", "value is not a valid list", "type_error.list"),
    ),
    "wrong dictionary": (
        "txt2img",
        {"override_settings": []},
        422,
        validation("override_settings", "value is not a valid dict", "type_error.dict"),
    ),
    "wrong boolean": (
        "txt2img",
        {"send_images": "perhaps"},
        422,
        validation("send_images", "value could not be parsed to a boolean", "type_error.bool"),
    ),
    "null where none may be": (
        "txt2img",
        {"alwayson_scripts": None},
        422,
        validation("alwayson_scripts", "none is not an allowed value", "type_error.none.not_allowed"),
    ),
    "too much upscaling": (
        "extra-single-image",
        {"upscaling_resize": 9},
        422,
        validation(
            "upscaling_resize",
            "ensure this value is less than or equal to 8",
            "value_error.number.not_le",
            ctx={"limit_value": 8},
        ),
    ),
    "missing field": ("png-info", {}, 422, validation("image", "field required", "value_error.missing")),
    "missing list": ("extra-batch-images", {}, 422, validation("imageList", "field required", "value_error.missing")),
    "no object": (
        "txt2img",
        [],
        422,
        {"detail": [{"loc": ["body"], "msg": "value is not a valid dict", "type": "type_error.dict"}]},
    ),
    "nothing to describe": ("interrogate", {}, 404, http_exception("Image not found")),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors_have_the_originals_status_and_body(webui: Server, case: str) -> None:
    path, request, status, body = ERRORS[case]
    assert await webui.send("POST", f"/sdapi/v1/{path}", json=request) == (status, body)


async def test_later_versions_answer_400_to_an_unknown_sampler() -> None:
    async with serving(unknown_sampler_status="400") as webui:
        answer = await webui.send("POST", "/sdapi/v1/txt2img", json={"sampler_name": "zz"})
    assert answer == (400, http_exception("Sampler not found"))


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", {"loc": ["body"], "msg": "field required", "type": "value_error.missing"}),
        (
            b"{",
            {
                "loc": ["body", 1],
                "msg": "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
                "type": "value_error.jsondecode",
                "ctx": {
                    "msg": "Expecting property name enclosed in double quotes",
                    "doc": "{",
                    "pos": 1,
                    "lineno": 1,
                    "colno": 2,
                },
            },
        ),
    ],
)
async def test_a_body_that_is_no_json_gets_fastapis_422(webui: Server, data: bytes, detail: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await webui.send("POST", "/sdapi/v1/txt2img", data=data, headers=headers)
    assert answer == (422, {"detail": [detail]})


async def test_a_body_of_another_type_is_no_object(webui: Server) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = await webui.send("POST", "/sdapi/v1/txt2img", data=b'{"prompt": "x"}', headers=headers)
    assert (status, body["detail"][0]["type"]) == (422, "type_error.dict")


async def test_too_large_an_image_runs_out_of_memory(webui: Server) -> None:
    status, body = await webui.send("POST", "/sdapi/v1/txt2img", json={"width": 4096, "height": 4096})
    assert status == 500
    assert (body["error"], body["detail"], body["body"]) == ("OutOfMemoryError", "", "")
    assert body["errors"].startswith("CUDA out of memory. Tried to allocate ")
    assert (await webui.jobs())[0]["outcome"] == "out-of-memory"
    assert (await webui.get("/sdapi/v1/memory"))["cuda"]["events"]["oom"] == 1
    assert len((await webui.generate(width=64, height=64))["images"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/", 404, "Not Found"),
        ("GET", "/sdapi/v1/nothing", 404, "Not Found"),
        ("GET", "/sdapi/v1/txt2img", 405, "Method Not Allowed"),
        ("DELETE", "/sdapi/v1/options", 405, "Method Not Allowed"),
    ],
)
async def test_unknown_routes_and_methods(webui: Server, method: str, path: str, status: int, detail: str) -> None:
    assert await webui.send(method, path) == (status, {"detail": detail})


async def test_a_password_is_asked_for_when_there_is_one() -> None:
    async with serving(api_auth="me:secret") as webui:
        path = "/sdapi/v1/progress"
        assert await webui.send("GET", path) == (401, http_exception("Not authenticated"))

        def credentials(text: str) -> dict[str, str]:
            return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

        wrong = await webui.send("GET", path, headers=credentials("me:guess"))
        assert wrong == (401, http_exception("Incorrect username or password"))
        assert (await webui.send("GET", path, headers=credentials("me:secret")))[0] == 200
        assert (await webui.send("GET", "/fake/jobs"))[0] == 200


async def test_whatever_else_goes_wrong_has_the_shape_of_an_exception(webui: Server) -> None:
    headers = {"Content-Type": "application/json"}
    data = b'{"denoising_strength": NaN, "enable_hr": true}'
    status, body = await webui.send("POST", "/sdapi/v1/txt2img", data=data, headers=headers)
    assert (status, body["error"]) == (500, "ValueError")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SCHEMAS = [schema.TEXT_TO_IMAGE, schema.IMAGE_TO_IMAGE, schema.EXTRA_SINGLE_IMAGE, schema.EXTRA_BATCH_IMAGES]


@given(st.sampled_from(SCHEMAS), st.data())
def test_any_value_of_any_field_is_converted_or_complained_of(fields: schema.Schema, data: st.DataObject) -> None:
    body = data.draw(st.dictionaries(st.sampled_from(sorted(fields)), JSON, max_size=4) | JSON)
    values, details = schema.validate(fields, body)
    assert details or set(values) == set(fields)
    for detail in details:
        assert set(detail) - {"ctx"} == {"loc", "msg", "type"}


@given(st.dictionaries(st.text(), JSON))
def test_unknown_fields_are_ignored(body: dict[str, Any]) -> None:
    unknown = {f"unknown {key}": value for key, value in body.items()}
    assert schema.validate(schema.TEXT_TO_IMAGE, unknown) == schema.validate(schema.TEXT_TO_IMAGE, {})


@given(st.integers() | st.integers().map(str) | st.floats(-1e6, 1e6))
def test_whole_numbers_are_read_as_pydantic_1_reads_them(value: float | str) -> None:
    values, details = schema.validate(schema.TEXT_TO_IMAGE, {"steps": value})
    assert not details
    assert values["steps"] == int(value)


@given(st.binary(max_size=40))
def test_any_body_is_json_or_has_a_detail(data: bytes) -> None:
    try:
        body, details = schema.read_json(data)
    except UnicodeDecodeError:
        return
    assert not (details and body)


def test_infinite_bounds_are_bounds() -> None:
    values, details = schema.validate(schema.EXTRA_SINGLE_IMAGE, {"upscaling_resize_w": 10**9})
    assert values["upscaling_resize_w"] == 10**9
    assert not details
    assert not math.isinf(values["upscaling_resize"])
