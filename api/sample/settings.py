"""The settings of the sample application, from the environment."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.settings import SettingsError, fault_lines

_ADDRESS: Final = re.compile(r"https?://[^\s?#]+")


class SampleSettings(BaseSettings):
    """What a process of it is told. It holds no API key: each caller sends one."""

    model_config = SettingsConfigDict(frozen=True)

    api_url: str
    """The API's address, a gateway's stage included, such as https://….amazonaws.com/prod/."""
    callback_queue_url: Annotated[str, Field(min_length=1)]
    """A queue that is subscribed to the callback topic, with raw message delivery, and nobody else reads."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    allowed_hosts: str = ""
    image_sources: str = ""
    """Origins from which the page shows results, with spaces between them; empty: the page's own."""
    upload_sources: str = ""
    """Origins to which the page sends the parts of large files, with spaces between them; empty: it cannot."""
    aws_region: str = "us-east-1"
    aws_endpoint_url: str = ""
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("api_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise ValueError("must be an http:// or https:// address without a query")
        return value.rstrip("/")


def load_sample_settings() -> SampleSettings:
    """Reads the environment.

    Raises:
        SettingsError: something is missing or wrong; one line for each fault.
    """
    try:
        return SampleSettings()
    except ValidationError as error:
        raise SettingsError("\n".join(fault_lines(error))) from error
