"""Reads config.yaml for this machine, where the environment may say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from contract.config import Config, ConfigError, load_config
from contract.origins import parse_origins


def load_local_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Returns the deployment, with the environment's CORS_ALLOWED_ORIGINS as the API takes them.

    Raises:
        ConfigError: one line for each fault.
    """
    config = load_config(path)
    origins = environment.get("CORS_ALLOWED_ORIGINS", "")
    if not origins:
        return config
    try:
        return config.with_cors(parse_origins(tuple(origins.split(","))))
    except ValueError as error:
        raise ConfigError(f"CORS_ALLOWED_ORIGINS: {error}") from error
