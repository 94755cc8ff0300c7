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
    "init images empty": (
        "img2img",
        {"init_images": []},
        500,
        exception(
            "RuntimeError", "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]"
        ),
    ),
    "more init images than results": (
        "img2img",
        {"init_images": [PICTURE, PICTURE]},
        500,
        exception("RuntimeError", "bad number of images passed: 2; expecting 1 or less"),
    ),
    "a number as init image": (
        "img2img",
        {"init_images": [5]},
        500,
        exception("AttributeError", "'int' object has no attribute 'startswith'"),
    ),
    "a data URL without data": (
        "img2img",
        {"init_images": ["data:image/png"]},
        500,
        exception("IndexError", "list index out of range"),
    ),
    "no strength": (
        "img2img",
        {"init_images": [PICTURE], "denoising_strength": None},
        422,
        validation("denoising_strength", "none is not an allowed value", "type_error.none.not_allowed"),
    ),
    "no prompt": ("txt2img", {"prompt": None}, 500, exception("AssertionError", "")),
    "no steps": ("txt2img", {"steps": 0}, 500, exception("ZeroDivisionError", "integer division or modulo by zero")),
    "fewer steps than none": (
        "txt2img",
        {"steps": -1},
        500,
        exception("RuntimeError", "number of steps must be non-negative"),
    ),
    "steps of null": (
        "txt2img",
        {"steps": None},
        500,
        exception("TypeError", "unsupported operand type(s) for //: 'NoneType' and 'NoneType'"),
    ),
    "no images": ("txt2img", {"batch_size": 0}, 500, exception("IndexError", "list index out of range")),
    "no batches": ("txt2img", {"n_iter": 0}, 500, exception("IndexError", "list index out of range")),
    "too large a seed": ("txt2img", {"seed": 2**63}, 500, exception("RuntimeError", "Overflow when unpacking long")),
    "no width": (
        "txt2img",
        {"width": 0, "height": 64},
        500,
        exception(
            "RuntimeError",
            "Calculated padded input size per channel: (10 x 2). Kernel size: (3 x 3). "
            "Kernel size can't be greater than actual input size",
        ),
    ),
    "a negative width": (
        "txt2img",
        {"width": -8, "height": 64},
        500,
        exception("RuntimeError", "Trying to create tensor with negative dimension -1: [4, 8, -1]"),
    ),
    "a width of null": (
        "txt2img",
        {"width": None},
        500,
        exception("TypeError", "unsupported operand type(s) for //: 'NoneType' and 'int'"),
    ),
    "a second pass without strength": (
        "txt2img",
        {"enable_hr": True},
        500,
        exception("TypeError", "'>' not supported between instances of 'NoneType' and 'int'"),
    ),
    "an unknown upscaler of the second pass": (
        "txt2img",
        {"enable_hr": True, "hr_upscaler": "zz", "denoising_strength": 0.5},
        500,
        exception("Exception", "could not find upscaler named zz"),
    ),
    "an unknown checkpoint of the second pass": (
        "txt2img",
        {"enable_hr": True, "hr_checkpoint_name": "zz"},
        500,
        exception("Exception", "Could not find checkpoint with name zz"),
    ),
    "an unknown refiner": (
        "txt2img",
        {"refiner_checkpoint": "zz"},
        500,
        exception("Exception", "Could not find checkpoint with name zz"),
    ),
    "a number for a script's arguments": (
        "txt2img",
        {"alwayson_scripts": {"seed": 5}},
        500,
        exception("TypeError", "argument of type 'int' is not iterable"),
    ),
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
        {"override_settings": [1]},
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
    "no upscaling": (
        "extra-single-image",
        {"upscaling_resize": 0},
        422,
        validation(
            "upscaling_resize",
            "ensure this value is greater than 0",
            "value_error.number.not_gt",
            ctx={"limit_value": 0},
        ),
    ),
    "too little upscaling": (
        "extra-single-image",
        {"image": PICTURE, "upscaler_1": "Lanczos", "upscaling_resize": 0.5},
        500,
        exception("ValueError", "height and width must be > 0"),
    ),
    "too much of a second upscaler": (
        "extra-single-image",
        {"extras_upscaler_2_visibility": 2},
        422,
        validation(
            "extras_upscaler_2_visibility",
            "ensure this value is less than or equal to 1",
            "value_error.number.not_le",
            ctx={"limit_value": 1},
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
    "nothing to describe": ("interrogate", {}, 500, http_exception("Invalid encoded image")),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors_have_the_originals_status_and_body(webui: Server, case: str) -> None:
    path, request, status, body = ERRORS[case]
    assert await webui.send("POST", f"/sdapi/v1/{path}", json=request) == (status, body)


@pytest.mark.parametrize("field", ["sampler_name", "sampler_index"])
async def test_earlier_versions_refuse_an_unknown_sampler(field: str) -> None:
    async with serving(unknown_sampler_status="404") as webui:
        answer = await webui.send("POST", "/sdapi/v1/txt2img", json={field: "zz"})
    assert answer == (404, http_exception("Sampler not found"))


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
    data = b'{"denoising_strength": NaN, "enable_hr": true, "width": 64, "height": 64}'
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
