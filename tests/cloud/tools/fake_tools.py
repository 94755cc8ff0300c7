"""Executables named docker, helm and npx: they record their calls, and do to the emulator what the real ones do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.support.serving import ThreadedServer

_PROGRAM = """#!{python} -ISE
import http.client, json, os, sys
said = sys.stdin.read() if "--password-stdin" in sys.argv or "-" in sys.argv else ""
body = json.dumps({{"argv": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "stdin": said}})
there = http.client.HTTPConnection({address!r}, timeout=60)
there.request("POST", "/", body)
answer = json.loads(there.getresponse().read())
print(answer["output"])
sys.exit(answer["status"])
"""


@dataclass
class FakeTools:
    """What was called, and what happens then."""

    folder: Path
    act: Callable[[list[str]], str] = lambda argv: ""
    """Does what a call would do, and returns what it prints; an AssertionError is printed, and the status is 1."""
    calls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """What came through standard input."""

    def called(self, text: str) -> list[str]:
        """Returns the calls that contain a text."""
        return [call for call in self.calls if text in call]


@contextmanager
def fake_tools(folder: Path) -> Iterator[FakeTools]:
    """Puts the executables into a folder, to be put on the PATH."""
    tools = FakeTools(folder)

    async def handle(request: web.Request) -> web.Response:
        asked = json.loads(await request.text())
        tools.calls.append(" ".join(asked["argv"]))
        if asked["stdin"]:
            tools.said.append(asked["stdin"])
        try:
            return web.json_response({"status": 0, "output": tools.act(asked["argv"])})
        except AssertionError as error:
            return web.json_response({"status": 1, "output": str(error)})

    async def application() -> web.Application:
        made = web.Application()
        made.router.add_post("/", handle)
        return made

    with ThreadedServer(application) as server:
        for name in ("docker", "helm", "npx"):
            program = folder / name
            program.write_text(_PROGRAM.format(python=sys.executable, address=server.url.removeprefix("http://")))
            program.chmod(0o755)
        yield tools
