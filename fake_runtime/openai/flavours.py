"""In what the servers of OpenAI's API differ."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from fake_runtime.encoding import json_response


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Flavour:
    """One server.

    Attributes:
        owned_by: what ``/v1/models`` says of who made the model.
        has_health: whether there is ``/health``.
        has_videos: whether there is ``/v1/videos``.
        stops: whether a run ends when its caller hangs up, and a video's when it is deleted.
        knows_models: whether a request for another model than the one that is served is refused.
        video_forms: whether a video without a file comes as a form; else as JSON.
        refuse: makes the answer of an error.
    """

    owned_by: str
    has_health: bool
    has_videos: bool
    stops: bool
    knows_models: bool
    video_forms: bool
    refuse: Callable[[ApiError], web.Response]


def _openai(error: ApiError) -> web.Response:
    body = {"message": error.message, "type": error.kind, "param": None, "code": error.status}
    return json_response({"error": body}, error.status)


def _fastapi(error: ApiError) -> web.Response:
    return json_response({"detail": error.message}, error.status)


def _plain(error: ApiError) -> web.Response:
    return json_response({"error": error.message}, error.status)


# vLLM-Omni 0.30.0 and SGLang 0.5.23 by their source, sd-server 97d2990 by its source and live.
FLAVOURS: dict[str, Flavour] = {
    "vllm-omni": Flavour("vllm-omni", True, True, True, True, True, _openai),
    "sglang": Flavour("sglang", True, True, False, False, False, _fastapi),
    "sd-server": Flavour("local", False, False, False, False, False, _plain),
}
