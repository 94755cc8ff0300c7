"""Finds what a deployed stack offers: its CloudFormation outputs, the API's key, the cluster's name."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from cloud.aws import Aws, ToolError, code_of

_KEY_ID: Final = re.compile(r"(?:id==[`'\"]|--api-key[ =]['\"]?)([A-Za-z0-9]+)")


class NoStackError(ToolError):
    """There is no such stack in this account and region."""


@dataclass(frozen=True)
class ClusterAccess:
    """How the `ConfigCommand` output says that the cluster is reached."""

    name: str
    region: str
    role_arn: str
    """The role to assume; empty: the caller's own."""


def find_stack(aws: Aws, name: str) -> dict[str, Any] | None:
    """Returns a stack as CloudFormation describes it, or None when there is none."""
    try:
        found: list[dict[str, Any]] = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        # CloudFormation has no code of its own for it.
        if code_of(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    return found[0] if found else None


def stack_outputs(aws: Aws, name: str) -> dict[str, str]:
    """Returns a stack's outputs by name.

    Raises:
        NoStackError: there is no such stack.
    """
    stack = find_stack(aws, name)
    if stack is None:
        raise NoStackError(
            f"there is no stack {name!r} in {aws.region}: deploy it with `uvx nox -s deploy`, "
            "or name another with --stack, --config or --region"
        )
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}


def output_of(outputs: dict[str, str], key: str, stack: str) -> str:
    """Returns one output.

    Raises:
        ToolError: the stack has no such output.
    """
    if key not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        raise ToolError(f"the stack {stack!r} has no output {key} (it has: {known}); deploy it again")
    return outputs[key]


def api_key_id(command: str) -> str:
    """Returns the id of the key that the `GetAPIKeyCommand` output asks for.

    Raises:
        ToolError: there is none in it.
    """
    found = _KEY_ID.search(command)
    if found is None:
        raise ToolError(f"the output GetAPIKeyCommand names no key: {command!r}; give the key with --api-key")
    return found[1]


def api_key(aws: Aws, outputs: dict[str, str], stack: str) -> str:
    """Returns the key that the stack's API asks for; what the `GetAPIKeyCommand` output would print."""
    key_id = api_key_id(output_of(outputs, "GetAPIKeyCommand", stack))
    return str(aws.client("apigateway").get_api_key(apiKey=key_id, includeValue=True)["value"])


def cluster_access(command: str) -> ClusterAccess:
    """Returns what the `ConfigCommand` output (`aws eks update-kubeconfig --name … --region …`) says.

    Raises:
        ToolError: it names no cluster.
    """
    words = shlex.split(command)
    options = {words[at]: words[at + 1] for at in range(len(words) - 1) if words[at].startswith("--")}
    if "--name" not in options:
        raise ToolError(f"the output ConfigCommand names no cluster: {command!r}")
    return ClusterAccess(options["--name"], options.get("--region", ""), options.get("--role-arn", ""))
