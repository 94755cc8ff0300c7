"""Requests that SD Web UI takes, and breaks at while they run: 500 with the exception's own words."""

from collections.abc import Mapping
from typing import Any

from fake_runtime.sdwebui import catalog
from fake_runtime.sdwebui.catalog import Checkpoints
from fake_runtime.sdwebui.errors import WebUiError

_LARGEST_SEED = 2**63 - 1


def failure_of(values: Mapping[str, Any], sources: int | None, checkpoints: Checkpoints) -> WebUiError | None:
    """What 1.10.1 says of a request when it gets to it, in the order in which it would; None if nothing is wrong.

    Args:
        values: as `schema` reads them.
        sources: how many images img2img was given; None for txt2img.
        checkpoints: that are on offer.
    """
    return (
        _of_what_is_named(values, checkpoints)
        or (_of_hires(values, checkpoints) if values.get("enable_hr") else None)
        or _of_numbers(values)
        or (None if sources is None else _of_sources(values, sources))
    )


def _broken(error: str, errors: str = "") -> WebUiError:
    return WebUiError(500, error=error, errors=errors)


def _of_what_is_named(values: Mapping[str, Any], checkpoints: Checkpoints) -> WebUiError | None:
    if values["prompt"] is None:
        return _broken("AssertionError")
    refiner = values["refiner_checkpoint"]
    if refiner not in {None, "", "None", "none"} and checkpoints.find(refiner) is None:
        return _broken("Exception", f"Could not find checkpoint with name {refiner}")
    return None


def _of_hires(values: Mapping[str, Any], checkpoints: Checkpoints) -> WebUiError | None:
    name, upscaler = values["hr_checkpoint_name"], values["hr_upscaler"]
    if name and name != "Use same checkpoint" and checkpoints.find(name) is None:
        return _broken("Exception", f"Could not find checkpoint with name {name}")
    if upscaler is not None and upscaler not in {*catalog.LATENT_UPSCALE_MODES, *catalog.UPSCALERS}:
        return _broken("Exception", f"could not find upscaler named {upscaler}")
    if values["denoising_strength"] is None:
        return _broken("TypeError", "'>' not supported between instances of 'NoneType' and 'int'")
    return None


def _of_numbers(values: Mapping[str, Any]) -> WebUiError | None:
    steps = values["steps"]
    if not values["batch_size"] or not values["n_iter"]:
        return _broken("IndexError", "list index out of range")
    if (failure := _of_size(values["width"], values["height"])) is not None:
        return failure
    if (values["seed"] or 0) > _LARGEST_SEED:
        return _broken("RuntimeError", "Overflow when unpacking long")
    if steps is None:
        return _broken("TypeError", "unsupported operand type(s) for //: 'NoneType' and 'NoneType'")
    if steps < 0:
        return _broken("RuntimeError", "number of steps must be non-negative")
    return _broken("ZeroDivisionError", "integer division or modulo by zero") if steps == 0 else None


def _of_size(width: int | None, height: int | None) -> WebUiError | None:
    if width is None or height is None:
        return _broken("TypeError", "unsupported operand type(s) for //: 'NoneType' and 'int'")
    if min(width, height) < 0:
        shape = [4, height // 8, width // 8]
        return _broken("RuntimeError", f"Trying to create tensor with negative dimension {min(shape)}: {shape}")
    if min(width, height) < 8:
        size = f"({height // 8 + 2} x {width // 8 + 2})"
        return _broken(
            "RuntimeError",
            f"Calculated padded input size per channel: {size}. Kernel size: (3 x 3). "
            "Kernel size can't be greater than actual input size",
        )
    return None


def _of_sources(values: Mapping[str, Any], sources: int) -> WebUiError | None:
    if not sources:
        return _broken(
            "RuntimeError", "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]"
        )
    if sources > values["batch_size"]:
        return _broken(
            "RuntimeError", f"bad number of images passed: {sources}; expecting {values['batch_size']} or less"
        )
    return None
