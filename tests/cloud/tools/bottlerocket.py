"""Systems Manager and a Bottlerocket node behind it, as far as the image cache talks to them; EC2 itself is moto's."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from tests.support.serving import ThreadedServer

AMI: Final = "ami-0123456789abcdef0"


@dataclass
class Bottlerocket:
    """What the node did, and how it is to behave."""

    commands: list[str] = field(default_factory=list)
    """All that was sent, in order, one line per command."""
    store: dict[str, str] = field(default_factory=dict)
    """Status by image, as `ctr images check` prints it; the snapshot carries it to the next instance."""
    fail: Callable[[str], bool] = lambda command: False
    """Whether a command ends with status 1."""
    refuse: Callable[[str], bool] = lambda operation: False
    """Whether Systems Manager refuses an operation."""
    parameters: dict[str, str] = field(default_factory=dict)
    """What Systems Manager keeps by name, besides the AMI's."""
    on_command: Callable[[str], None] = lambda command: None
    """Called with each command before it runs."""
    _answers: dict[str, tuple[str, str]] = field(default_factory=dict)

    def reset(self) -> None:
        """Forgets everything, and behaves again."""
        self.__dict__.update(vars(Bottlerocket()))

    def serve(self) -> ThreadedServer:
        """Returns a server to be used as AWS_ENDPOINT_URL_SSM."""
        return ThreadedServer(self._application)

    async def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        if self.refuse(operation):
            return web.json_response(
                {"__type": "AccessDeniedException", "message": f"not allowed to {operation}"}, status=400
            )
        answer: dict[str, Any] = {
            "GetParameter": self._parameter,
            "GetParametersByPath": self._parameters,
            "DescribeInstanceInformation": self._information,
            "SendCommand": self._send,
            "GetCommandInvocation": self._invocation,
        }[operation](await request.json())
        return web.json_response(answer, content_type="application/x-amz-json-1.1")

    def _parameter(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert re.fullmatch(r"/aws/service/bottlerocket/aws-k8s-1\.\d\d/x86_64/[\d.]+/image_id", asked["Name"])
        return {"Parameter": {"Name": asked["Name"], "Type": "String", "Value": AMI}}

    def _parameters(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = {name: value for name, value in self.parameters.items() if name.startswith(asked["Path"])}
        return {"Parameters": [{"Name": name, "Type": "String", "Value": value} for name, value in found.items()]}

    def _information(self, asked: dict[str, Any]) -> dict[str, Any]:
        (instance,) = asked["Filters"][0]["Values"]
        return {"InstanceInformationList": [{"InstanceId": instance, "PingStatus": "Online"}]}

    def _send(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["DocumentName"] == "AWS-RunShellScript"
        command = "\n".join(asked["Parameters"]["commands"])
        self.on_command(command)
        self.commands.append(command)
        identity = str(uuid.uuid4())
        if self.fail(command):
            self._answers[identity] = ("Failed", "the node cannot do that")
        else:
            self._answers[identity] = ("Success", self._run(command))
        return {"Command": {"CommandId": identity}}

    def _invocation(self, asked: dict[str, Any]) -> dict[str, Any]:
        status, text = self._answers[asked["CommandId"]]
        return {
            "Status": status,
            "StandardOutputContent": text if status == "Success" else "",
            "StandardErrorContent": "" if status == "Success" else text,
        }

    def _run(self, command: str) -> str:
        if found := re.search(r"pull-image --source (\S+) --label", command):
            self.store[found[1]] = "complete (7/7)"
            return ""
        if "images check" in command:
            lines = ["REF TYPE DIGEST STATUS SIZE UNPACKED"]
            kind = "application/vnd.oci.image.manifest.v1+json"
            lines += [
                f"{name} {kind} {name[-71:]} {status} 9.1 GiB/9.1 GiB true" for name, status in self.store.items()
            ]
            return "\n".join(lines)
        return ""
