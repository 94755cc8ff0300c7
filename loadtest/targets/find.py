"""Finds the stack that the settings name, with the sources that observe it."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from contract.config import Config, ConfigError, load_config
from contract.topology import LOCAL_ACCOUNT, topology
from loadtest.observe.compose import ComposeGpus, ComposeReplicas
from loadtest.observe.local import LocalReplicas
from loadtest.observe.queues import ApiQueues, SqsQueues
from loadtest.observe.source import Source
from loadtest.settings import Settings
from loadtest.target import Kind, Place, Target, TargetError, connect
from loadtest.targets.compose import published
from loadtest.targets.local import PROJECT, SINK_PICTURE, read_state, state_folder, target_of

_COMPOSE_PICTURE: Final = f"http://sink:8001{SINK_PICTURE}"
_REGION: Final = "us-east-1"
_KEY_ID: Final = re.compile(r"(?:id==[`'\"]|--api-key[ =]['\"]?)([A-Za-z0-9]+)")
"""Where `aws apigateway get-api-keys … id==`KEY` …` or `… get-api-key --api-key KEY` names the key."""


def state_path(settings: Settings) -> Path:
    """Returns where the state file of a local stack is to be found."""
    return settings.state or state_folder() / "up.json"


def find_target(settings: Settings) -> Target:
    """Returns the stack that is to be put under load.

    Raises:
        TargetError: it is not there, or cannot be used.
    """
    return replace(_find(settings), api_keys=_keys_in(settings.api_keys))


def _keys_in(text: str) -> dict[str, str]:
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    found = {name: key for name, _, key in pairs if name and key}
    if len(found) < len(pairs):
        raise TargetError("--api-keys: write name=key,name=key, each name once")
    return found


def _find(settings: Settings) -> Target:
    config = read_config(settings.config or PROJECT / "config.yaml")
    for option, address in (("--api-url", settings.api_url), ("--endpoint", settings.endpoint)):
        if address and not address.startswith(("http://", "https://")):
            raise TargetError(f"{option} {address}: must begin with http:// or https://")
    match settings.target:
        case Kind.LOCAL:
            path = state_path(settings)
            state = read_state(path)
            if state is None:
                raise TargetError(f"no local stack runs ({path} is not there): start one with `uvx nox -s up`")
            return target_of(state, path, config, settings.api_key)
        case Kind.COMPOSE:
            endpoint = settings.endpoint or published("localstack", 4566, "--endpoint")
            place = _place(config, endpoint, settings.region or _REGION, LOCAL_ACCOUNT)
            api = settings.api_url.rstrip("/") or published("api", 8000, "--api-url")
            picture = settings.sample_image or _COMPOSE_PICTURE
            return Target(Kind.COMPOSE, api, config, place, settings.api_key, picture)
        case Kind.KUBERNETES:
            if not settings.api_url and not settings.context:
                return _on_this_machine(settings)
            if not settings.api_url:
                raise TargetError("--context needs --api-url, the address of the API's service or ingress")
            return _reached(settings, config, settings.api_url, _account(settings))
        case Kind.AWS:
            return _in_aws(settings, config)


def read_config(path: Path) -> Config:
    """Returns a deployment's config.

    Raises:
        TargetError: it cannot be used.
    """
    try:
        return load_config(path)
    except ConfigError as error:
        raise TargetError(str(error)) from error


def check_target(target: Target) -> None:
    """Asks the API for its runtimes, so that a wrong address or key shows before the load begins.

    Raises:
        TargetError: it does not answer, or not with the config's runtimes.
    """
    request = urllib.request.Request(f"{target.api}/v1/runtimes", headers=target.headers())  # noqa: S310 - given by the user
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            names = {item["name"] for item in json.load(answer)["runtimes"]}
    except urllib.error.HTTPError as error:
        key = "is the key in DARKROOM_API_KEY one of its own?" if target.api_key else "give its key in DARKROOM_API_KEY"
        hint = f"; {key}" if error.code in {401, 403} else ""
        raise TargetError(f"the API at {target.api} answers {error.code} to /v1/runtimes{hint}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "reason", error)
        raise TargetError(
            f"the API at {target.api} cannot be reached: {why}; does it run there? --api-url names another"
        ) from error
    missing = [runtime.name for runtime in target.config.runtimes if runtime.name not in names]
    if missing:
        raise TargetError(
            f"the stack has no runtime {', '.join(missing)} (it has {', '.join(sorted(names))}): "
            "name the config.yaml that it was started with by --config"
        )


def sources_of(target: Target) -> list[Source]:
    """Returns what can be observed of a stack."""
    place = target.place
    queues: Source = ApiQueues(target) if place is None else SqsQueues(connect(place), place)
    match target.kind:
        case Kind.LOCAL:
            return [queues, LocalReplicas(Path(target.state))]
        case Kind.COMPOSE:
            replicas = ComposeReplicas(PROJECT, [runtime.name for runtime in target.config.runtimes])
            return [queues, replicas, ComposeGpus(replicas)]
        case Kind.KUBERNETES | Kind.AWS:
            # A second of imports that the other targets need not wait for.
            from loadtest.observe.kubernetes import KubernetesReplicas  # noqa: PLC0415

            return [queues, KubernetesReplicas(target.config, target.context, target.kubeconfig)]


def _place(config: Config, endpoint: str, region: str, account: str) -> Place:
    """Returns the AWS part of a deployment; asks SQS for the URLs of its queues.

    Raises:
        TargetError: a queue is not there.
    """
    plan = topology(config, region=region, account=account)
    bare = Place(endpoint, region, plan.callback_topic_arn, plan.output_bucket, {})
    sqs = connect(bare).sqs
    try:
        urls = {queue.runtime: sqs.get_queue_url(QueueName=queue.name)["QueueUrl"] for queue in plan.queues}
    except (BotoCoreError, ClientError) as error:
        raise TargetError(
            f"the queues of {config.stack_name} are not at {endpoint or f'AWS, {region}'}: {error}; "
            "does the stack run, and is its --config named?"
        ) from error
    return Place(endpoint, region, plan.callback_topic_arn, plan.output_bucket, urls)


def region_of(settings: Settings) -> str:
    """Returns the AWS region: as said, by the environment's names for it, by the profile, or us-east-1."""
    # boto3 knows AWS_DEFAULT_REGION and profiles, but not the AWS_REGION of all other tools.
    return settings.region or os.environ.get("AWS_REGION") or boto3.Session().region_name or _REGION


def _account(settings: Settings) -> str:
    if settings.endpoint:
        return LOCAL_ACCOUNT
    try:
        account: str = boto3.client("sts", region_name=region_of(settings)).get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise TargetError(f"AWS does not know who asks: {error}; set up credentials, or name --endpoint") from error
    return account


def _reached(settings: Settings, config: Config, api: str, account: str, api_key: str = "") -> Target:
    region = region_of(settings)
    return Target(
        kind=settings.target,
        api=api.rstrip("/"),
        config=config,
        place=_place(config, settings.endpoint, region, account),
        api_key=settings.api_key or api_key,
        sample_image=settings.sample_image,
        context=settings.context,
    )


def _on_this_machine(settings: Settings) -> Target:
    """Returns the cluster that `nox -s cluster -- up` keeps, by its state file (cluster/state.py)."""
    path = state_folder() / "cluster" / "state.json"
    state = read_state(path)
    if state is None:
        raise TargetError(
            f"no cluster of this machine runs ({path} is not there): start one with `uvx nox -s cluster -- up`; "
            "or name the API of another by --api-url"
        )
    try:
        config = read_config(settings.config or Path(state["config"]))
        return Target(
            kind=Kind.KUBERNETES,
            api=state["api"],
            config=config,
            place=_place(config, state["endpoint"], state["region"], LOCAL_ACCOUNT),
            api_key=settings.api_key,
            sample_image=settings.sample_image or state["sample_image"],
            context=state["context"],
            kubeconfig=state["kubeconfig"],
        )
    except KeyError as error:
        raise TargetError(f"{path}: {error} is missing; it is no state file of this version") from error


def _in_aws(settings: Settings, config: Config) -> Target:
    # An emulator takes any key.
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"} if settings.endpoint else {}
    options = {"endpoint_url": settings.endpoint} if settings.endpoint else {}
    try:
        session: Any = boto3.Session(region_name=region_of(settings), **keys)  # type: ignore[arg-type]
        stacks = session.client("cloudformation", **options).describe_stacks(StackName=config.stack_name)["Stacks"]
        outputs = {item["OutputKey"]: item["OutputValue"] for item in stacks[0].get("Outputs", [])}
        api = settings.api_url or outputs["FrontApiEndpoint"]
        key = "" if settings.api_key else _api_key(session, options, outputs.get("GetAPIKeyCommand", ""))
    except KeyError as error:
        raise TargetError(f"the stack {config.stack_name} has no output {error}: is it deployed?") from error
    except (BotoCoreError, ClientError) as error:
        raise TargetError(
            f"the stack {config.stack_name} cannot be read: {error}; "
            "this needs credentials, its --region, and its --config"
        ) from error
    return _reached(settings, config, api, _account(settings), key)


def _api_key(session: Any, options: dict[str, Any], command: str) -> str:
    """Returns the API key that the stack's `GetAPIKeyCommand` output would print; empty if it names none."""
    found = _KEY_ID.search(command)
    if found is None:
        return ""
    value: str = session.client("apigateway", **options).get_api_key(apiKey=found[1], includeValue=True)["value"]
    return value
