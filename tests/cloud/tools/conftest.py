"""Fixtures of the tools' tests: emulators, and the command line as a user calls it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from botocore.loaders import create_loader
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner, Result

from cloud.commands import app
from cloud.deployment import checks
from local.emulators.environment import ensure_environment
from local.emulators.kinds import MINISTACK
from local.emulators.process import Emulator
from local.folders import state_folder
from tests.support.processes import http

REGION = "us-east-1"
Run = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def shared_service_models() -> Iterator[None]:
    """Reads botocore's service models once for all: the tools make their clients anew with each call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield


NODES = {"ScalingConfig": {"DesiredSize": 2}, "InstanceTypes": ["m5.large"], "DiskSize": 44}


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives `deploy` a template to look at: to synthesize them all takes ten seconds each time."""
    one = {"Resources": {"Nodes": {"Type": "AWS::EKS::Nodegroup", "Properties": NODES}}}
    monkeypatch.setattr(checks, "write_templates", lambda *_, **__: {"darkroom": one})


@cache
def client(service: str, endpoint: str) -> Any:
    """Returns a boto3 client of an emulator."""
    # Typed loosely: the stubs know one overload for each of some 400 service names, and none for a variable.
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    return session.client(service, endpoint_url=endpoint)


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a MiniStack, which deploys CloudFormation templates for real."""
    python = ensure_environment(state_folder(), say=print, kind=MINISTACK)
    folder = tmp_path_factory.mktemp("ministack")
    process = Emulator(python=python, folder=folder, kind=MINISTACK, settings={"SERVICES": ""})
    try:
        process.start()
        yield process.wait_until_ready().endpoint
    finally:
        process.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The URL of a moto server, which keeps EC2, ECR and CloudFormation in memory."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    with pytest.MonkeyPatch.context() as environment:
        # Else it has some 560 snapshots of Amazon's images, and each look at ours goes through them.
        environment.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        server.start()
        host, port = server.get_host_and_port()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.stop()


@pytest.fixture(scope="module")
def moto(moto_server: str) -> str:
    """The URL of a moto server that has forgotten all that the tests of other modules did."""
    http().post(f"{moto_server}/moto-api/reset").raise_for_status()
    return moto_server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls `python -m cloud …` in this process: `run("status", "--region", …, AWS_ENDPOINT_URL=…)`."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "CONFIG_FILE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", REGION)

    def call(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, list(arguments), input=stdin, env={"COLUMNS": "200"}, catch_exceptions=False)

    return call
