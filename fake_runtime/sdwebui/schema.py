"""What each SD Web UI request may contain, its defaults, and the complaints of pydantic 1 about the rest."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

type Json = Any
Detail = dict[str, object]


class _WrongValueError(Exception):
    """A value of the wrong kind, with pydantic 1's message and type."""

    def __init__(self, message: str, kind: str, context: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.context = context


def _integer(value: Json) -> int:
    try:
        if isinstance(value, int | float | str):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise _WrongValueError("value is not a valid integer", "type_error.integer")


def _number(value: Json) -> float:
    try:
        if isinstance(value, int | float | str):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise _WrongValueError("value is not a valid float", "type_error.float")


def _text(value: Json) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _WrongValueError("str type expected", "type_error.str")


_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "off", "f", "false", "n", "no"})


def _boolean(value: Json) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | str):
        lowered = str(value).lower()
        if lowered in _TRUE or value == 1:
            return True
        if lowered in _FALSE or value == 0:
            return False
    raise _WrongValueError("value could not be parsed to a boolean", "type_error.bool")


def _list(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    raise _WrongValueError("value is not a valid list", "type_error.list")


def _dictionary(value: Json) -> dict[str, Json]:
    # As `dict(value)`, which takes an empty list too.
    if isinstance(value, dict) or value == []:
        return dict(value)
    raise _WrongValueError("value is not a valid dict", "type_error.dict")


def _anything(value: Json) -> Json:
    return value


def _within(low: float, high: float, convert: Callable[[Json], float]) -> Callable[[Json], float]:
    def check(value: Json) -> float:
        number = convert(value)
        if number < low:
            message = f"ensure this value is greater than or equal to {low:g}"
            raise _WrongValueError(message, "value_error.number.not_ge", {"limit_value": low})
        if number > high:
            message = f"ensure this value is less than or equal to {high:g}"
            raise _WrongValueError(message, "value_error.number.not_le", {"limit_value": high})
        return number

    return check


def _above_zero(value: Json) -> float:
    number = _number(value)
    if not number > 0:
        raise _WrongValueError("ensure this value is greater than 0", "value_error.number.not_gt", {"limit_value": 0})
    return number


def _resize_mode(value: Json) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool) and value in {0, 1}:
        return int(value)
    message = "unexpected value; permitted: 0, 1"
    raise _WrongValueError(message, "value_error.const", {"given": value, "permitted": [0, 1]})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request: how its value is read, and what it is if absent."""

    convert: Callable[[Json], Json]
    default: Json = None
    required: bool = False
    nullable: bool = True


type Schema = Mapping[str, Field]


def _not_null(convert: Callable[[Json], Json], default: Json) -> Field:
    return Field(convert, default, nullable=False)


# The fields and defaults of StableDiffusionProcessing, as the API's models of 1.10.1 show them.
_PROCESSING: dict[str, Field] = {
    "prompt": Field(_text, ""),
    "negative_prompt": Field(_text, ""),
    "styles": Field(_list),
    "seed": Field(_integer, -1),
    "subseed": Field(_integer, -1),
    "subseed_strength": Field(_number, 0),
    "seed_resize_from_h": Field(_integer, -1),
    "seed_resize_from_w": Field(_integer, -1),
    "sampler_name": Field(_text),
    "scheduler": Field(_text),
    "batch_size": Field(_integer, 1),
    "n_iter": Field(_integer, 1),
    "steps": Field(_integer, 50),
    "cfg_scale": Field(_number, 7.0),
    "width": Field(_integer, 512),
    "height": Field(_integer, 512),
    "restore_faces": Field(_boolean),
    "tiling": Field(_boolean),
    "do_not_save_samples": Field(_boolean, False),
    "do_not_save_grid": Field(_boolean, False),
    "eta": Field(_number),
    "denoising_strength": Field(_number),
    "s_min_uncond": Field(_number),
    "s_churn": Field(_number),
    "s_tmax": Field(_number),
    "s_tmin": Field(_number),
    "s_noise": Field(_number),
    "override_settings": Field(_dictionary),
    "override_settings_restore_afterwards": Field(_boolean, True),
    "refiner_checkpoint": Field(_text),
    "refiner_switch_at": Field(_number),
    "disable_extra_networks": Field(_boolean, False),
    "firstpass_image": Field(_text),
    "comments": Field(_dictionary),
    "sampler_index": Field(_text, "Euler"),
    "script_name": Field(_text),
    "script_args": _not_null(_list, []),
    "send_images": _not_null(_boolean, True),
    "save_images": _not_null(_boolean, False),
    "alwayson_scripts": _not_null(_dictionary, {}),
    "force_task_id": Field(_text),
    "infotext": Field(_text),
}

TEXT_TO_IMAGE: Schema = _PROCESSING | {
    "enable_hr": Field(_boolean, False),
    "firstphase_width": Field(_integer, 0),
    "firstphase_height": Field(_integer, 0),
    "hr_scale": Field(_number, 2.0),
    "hr_upscaler": Field(_text),
    "hr_second_pass_steps": Field(_integer, 0),
    "hr_resize_x": Field(_integer, 0),
    "hr_resize_y": Field(_integer, 0),
    "hr_checkpoint_name": Field(_text),
    "hr_sampler_name": Field(_text),
    "hr_scheduler": Field(_text),
    "hr_prompt": Field(_text, ""),
    "hr_negative_prompt": Field(_text, ""),
}

IMAGE_TO_IMAGE: Schema = _PROCESSING | {
    "init_images": Field(_list),
    "denoising_strength": _not_null(_number, 0.75),
    "resize_mode": Field(_integer, 0),
    "image_cfg_scale": Field(_number),
    "mask": Field(_text),
    "mask_blur_x": Field(_integer, 4),
    "mask_blur_y": Field(_integer, 4),
    "mask_blur": Field(_integer),
    "mask_round": Field(_boolean, True),
    "inpainting_fill": Field(_integer, 0),
    "inpaint_full_res": Field(_boolean, True),
    "inpaint_full_res_padding": Field(_integer, 0),
    "inpainting_mask_invert": Field(_integer, 0),
    "initial_noise_multiplier": Field(_number),
    "latent_mask": Field(_text),
    "include_init_images": _not_null(_boolean, False),
}

_EXTRAS: dict[str, Field] = {
    "resize_mode": _not_null(_resize_mode, 0),
    "show_extras_results": _not_null(_boolean, True),
    "gfpgan_visibility": _not_null(_within(0, 1, _number), 0),
    "codeformer_visibility": _not_null(_within(0, 1, _number), 0),
    "codeformer_weight": _not_null(_within(0, 1, _number), 0),
    "upscaling_resize": _not_null(_above_zero, 2),
    "upscaling_resize_w": _not_null(_within(1, float("inf"), _integer), 512),
    "upscaling_resize_h": _not_null(_within(1, float("inf"), _integer), 512),
    "upscaling_crop": _not_null(_boolean, True),
    "upscaler_1": _not_null(_text, "None"),
    "upscaler_2": _not_null(_text, "None"),
    "extras_upscaler_2_visibility": _not_null(_within(0, 1, _number), 0),
    "upscale_first": _not_null(_boolean, False),
}

EXTRA_SINGLE_IMAGE: Schema = _EXTRAS | {"image": _not_null(_text, "")}
EXTRA_BATCH_IMAGES: Schema = _EXTRAS | {"imageList": Field(_list, required=True, nullable=False)}
BATCH_ITEM: Schema = {
    "data": Field(_text, required=True, nullable=False),
    "name": Field(_text, required=True, nullable=False),
}
PNG_INFO: Schema = {"image": Field(_text, required=True, nullable=False)}
INTERROGATE: Schema = {"image": _not_null(_text, ""), "model": _not_null(_text, "clip")}
OPTIONS: Schema = {}
PROGRESS: Schema = {"skip_current_image": _not_null(_boolean, False)}


def _detail(location: list[object], wrong: _WrongValueError) -> Detail:
    detail: Detail = {"loc": location, "msg": wrong.message, "type": wrong.kind}
    return detail if wrong.context is None else {**detail, "ctx": wrong.context}


def validate(
    schema: Schema, body: Json, location: tuple[object, ...] = ("body",)
) -> tuple[dict[str, Json], list[Detail]]:
    """Reads a body as pydantic 1 does: converts what can be converted, ignores unknown fields, complains of the rest.

    Returns:
        The values with defaults filled in, and FastAPI's details of what is wrong; one of the two is of use.
    """
    if not isinstance(body, dict):
        return {}, [_detail([*location], _WrongValueError("value is not a valid dict", "type_error.dict"))]
    values: dict[str, Json] = {}
    details: list[Detail] = []
    for name, field in schema.items():
        here: list[object] = [*location, name]
        if name not in body:
            if field.required:
                details.append(_detail(here, _WrongValueError("field required", "value_error.missing")))
            values[name] = field.default
        elif body[name] is None:
            if not field.nullable:
                details.append(
                    _detail(here, _WrongValueError("none is not an allowed value", "type_error.none.not_allowed"))
                )
            values[name] = None
        else:
            try:
                values[name] = field.convert(body[name])
            except _WrongValueError as wrong:
                details.append(_detail(here, wrong))
    return values, details


def read_json(data: bytes) -> tuple[Json, list[Detail]]:
    """Decodes a body, with FastAPI's detail when it is empty or no JSON."""
    if data in {b"", b"null"}:
        return None, [_detail(["body"], _WrongValueError("field required", "value_error.missing"))]
    try:
        return json.loads(data), []
    except json.JSONDecodeError as error:
        context = {"msg": error.msg, "doc": error.doc, "pos": error.pos, "lineno": error.lineno, "colno": error.colno}
        return None, [_detail(["body", error.pos], _WrongValueError(str(error), "value_error.jsondecode", context))]
