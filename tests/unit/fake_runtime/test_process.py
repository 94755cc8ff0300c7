"""The process: how it starts, refuses to start, tells its address, and ends."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from fake_runtime.__main__ import read_arguments, scratch_folder
from fake_runtime.settings import Settings
from tests.support.processes import Process
from tests.support.workflows import diffusion
from tests.unit.fake_runtime.support import settings, until


@contextmanager
def process(folder: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    child = Process("fake", "fake_runtime", folder=folder, arguments=arguments, environment=environment)
    try:
        yield child
    finally:
        child.stop()


async def address(child: Process) -> str:
    def told() -> str:
        return next((line for line in child.text().splitlines() if line.startswith("fake ")), "")

    line = await until(told, "the address")
    assert " listening on http://" in line
    return str(line.split()[-1])


async def ended(child: Process) -> tuple[int | None, str]:
    status, _ = await asyncio.to_thread(child.wait_ended, 60)
    return status, child.text()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_it_tells_the_free_port_it_took_and_ends_at_once_on_sigterm(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with process(tmp_path, "--type", "comfyui", "--port", "0", TMPDIR=str(scratch)) as child:
        url = await address(child)
        assert len(names_in(scratch)) == 1
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws") as websocket:
            await session.post(f"{url}/prompt", json={"prompt": diffusion(steps=1000, width=512, height=512)})
            child.terminate()
            status, _ = await ended(child)
            while (await websocket.receive(30)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert websocket.close_code == 1006
        assert status == 128 + signal.SIGTERM
        assert names_in(scratch) == []


async def test_every_option_can_come_from_the_environment(tmp_path: Path) -> None:
    environment = {"TYPE": "comfyui", "MODELS": "a.safetensors,b.safetensors", "FAULT": "error;hang:seconds=1"}
    with process(tmp_path, **{f"FAKE_RUNTIME_{key}": value for key, value in environment.items()}) as child:
        url = await address(child)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{url}/models/checkpoints") as response:
                assert await response.json() == ["a.safetensors", "b.safetensors"]
            async with session.get(f"{url}/fake/faults") as response:
                assert [fault["name"] for fault in await response.json()] == ["error", "hang"]


async def test_an_exit_in_the_middle_breaks_the_connection(tmp_path: Path) -> None:
    with process(tmp_path, "--latency", "0", "--fault", "exit-in-the-middle:status=7") as child:
        url = await address(child)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.post(f"{url}/sdapi/v1/txt2img", json={"steps": 2})
        assert (await ended(child))[0] == 7


async def test_a_slow_start_refuses_connections_until_it_is_over(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with process(tmp_path, "--port", str(port), "--fault", "slow-start:seconds=0.5") as child:
        begin = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await address(child)
        assert time.monotonic() - begin >= 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "explode"], "--fault: name: "),
        (["--fault", "drop-websocket"], "is a fault of ComfyUI"),
        (["--latency", "fast"], "--latency: "),
        (["--port", "70000"], "--port: "),
        (["--models", ","], "--models: "),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        read_arguments(arguments)
    assert raised.value.code == 2
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_arguments_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    read, faults = read_arguments(["--models", "a,b", "--models", "c", "--fault", "error:status=503,count=2"])
    assert read.models == ["a", "b", "c"]
    assert [(fault.status, fault.count) for fault in faults] == [(503, 2)]

    with pytest.raises(SystemExit):
        read_arguments(["--help"])
    assert "FAKE_RUNTIME_SECONDS_PER_TASK" in capsys.readouterr().out


def test_a_repeated_fault_option_orders_each_of_them() -> None:
    _, faults = read_arguments(["--fault", "error:status=503,count=2", "--fault", "hang", "--fault", "hang:after=3"])
    assert [(fault.name, fault.count, fault.after) for fault in faults] == [
        ("error", 2, 0),
        ("hang", 1, 0),
        ("hang", 1, 3),
    ]


async def test_a_dead_start_ends_with_a_message(tmp_path: Path) -> None:
    with process(tmp_path, "--fault", "dead-start:status=3") as child:
        status, errors = await ended(child)
    assert (status, errors) == (3, "RuntimeError: Found no NVIDIA driver on your system.\n")


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process(tmp_path, "--port", str(port)) as child:
            status, errors = await ended(child)
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        scratch_folder(settings(type="comfyui", directory=tmp_path / "file" / "below"))
    errors = capsys.readouterr().err
    assert "file/below: Not a directory; name a writable folder with --directory" in errors
    assert errors.count("\n") == 1


def test_lists_are_read_with_commas() -> None:
    assert settings(models="a, b").models == ["a", "b"]
    assert settings(models=["a,b", "c"]).models == ["a", "b", "c"]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="colour"):
        Settings.model_validate({"colour": "red"})
