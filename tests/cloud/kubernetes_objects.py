"""Checks Kubernetes objects as a cluster would: core kinds, custom ones with their CEL rules, KEDA's triggers."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import celpy
import jsonschema
import kubernetes_validate
import yaml
from celpy import celtypes
from celpy.adapter import CELJSONEncoder, json_to_cel

from cloud.versions import KUBERNETES

CRDS: Final = Path(__file__).parent / "crds"

_UNCHECKED: Final = {"ServiceMonitor"}
"""Kinds of optional operators whose definitions are not kept here."""


def faults(item: dict[str, Any]) -> list[str]:
    """Returns what a cluster would refuse of an object, each with its kind, name and the path of the field."""
    named = f"{item['kind']}/{item['metadata']['name']}"
    if item["kind"] in _UNCHECKED:
        return []
    schema = _custom_schemas().get((item["apiVersion"], item["kind"]))
    if schema is None:
        found = list(_core_faults(json.dumps(item, sort_keys=True)))
    else:
        found = [*_schema_faults(schema, item), *_rule_faults(schema, item)]
    found += _trigger_faults(item) if item["kind"] == "ScaledObject" else []
    return [f"{named}: {fault}" for fault in found]


_schema_contents: Final = functools.cache(kubernetes_validate.utils.schema_contents)
"""The library reads each schema anew for each object, a megabyte."""


@functools.cache
def _core_faults(item: str) -> tuple[str, ...]:
    """Checks an object (as JSON) once: most objects of two releases are the same."""
    try:
        with patch.object(kubernetes_validate.utils, "schema_contents", _schema_contents):
            kubernetes_validate.validate(json.loads(item), KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}",)
    return ()


@functools.cache
def _custom_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the schema of each custom resource, by API version and kind."""
    schemas = {}
    for path in sorted(CRDS.glob("*.yaml")):
        spec = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            schemas[key] = _closed(version["schema"]["openAPIV3Schema"], is_root=True)
    return schemas


def _closed(schema: dict[str, Any], *, is_root: bool = False) -> dict[str, Any]:
    """Returns a schema that refuses unknown fields, which the cluster would drop in silence."""
    result = dict(schema)
    properties = schema.get("properties")
    if properties is not None:
        result["properties"] = {name: _closed(below) for name, below in properties.items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    if is_root:
        result["properties"]["metadata"] = {"type": "object"}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            result[name] = _closed(schema[name])
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("anyOf", None)
        result["type"] = ["integer", "string"]
    return result


def _schema_faults(schema: dict[str, Any], item: dict[str, Any]) -> Iterator[str]:
    for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
        yield f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"


def _rule_faults(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Evaluates the CEL rules of a schema and of all below it that the value has."""
    for rule in schema.get("x-kubernetes-validations", ()):
        # Rules over `oldSelf` are about changes.
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], {"self": value}):
            yield f"{path.lstrip('.')}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for name, below in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                yield from _rule_faults(inner, below, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, below in enumerate(value):
            yield from _rule_faults(schema["items"], below, f"{path}.{index}")


def holds(rule: str, variables: dict[str, Any]) -> bool:
    """Returns whether a CEL expression is true of some variables (JSON values)."""
    return _holds(rule, json.dumps(variables, sort_keys=True))


def value_of(expression: str, variables: dict[str, Any]) -> Any:
    """Returns what a CEL expression makes of some variables (JSON values), as JSON."""
    found = _program(expression).evaluate({name: json_to_cel(value) for name, value in variables.items()})
    return json.loads(json.dumps(found, cls=CELJSONEncoder))


@functools.cache
def _holds(rule: str, variables: str) -> bool:
    """Evaluates a rule once for the same variables (as JSON): most parts of two objects are the same."""
    return bool(_program(rule).evaluate({name: json_to_cel(value) for name, value in json.loads(variables).items()}))


@functools.cache
def _program(rule: str) -> celpy.Runner:
    environment = _environment()
    # Kubernetes' own additions to CEL ("Kubernetes regex library", "Kubernetes list library").
    return environment.program(environment.compile(rule), functions={"find": _find, "split": _split})


@functools.cache
def _environment() -> celpy.Environment:
    limit = sys.getrecursionlimit()
    environment = celpy.Environment()
    # It raises the limit for the whole process, which Hypothesis takes for a fault of the test's.
    sys.setrecursionlimit(limit)
    return environment


def _find(text: celtypes.StringType, pattern: celtypes.StringType) -> celtypes.StringType:
    found = re.search(str(pattern), str(text))
    return celtypes.StringType(found.group(0) if found else "")


def _split(text: celtypes.StringType, separator: celtypes.StringType) -> celtypes.ListType:
    return celtypes.ListType([celtypes.StringType(part) for part in str(text).split(str(separator))])


@functools.cache
def _scalers() -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the trigger metadata that each of KEDA's scalers reads, by scaler and name."""
    document = json.loads((CRDS / "keda.scalers-schema.json").read_text(encoding="utf-8"))
    return {
        scaler["type"]: {parameter["name"]: parameter for parameter in scaler["parameters"] or ()}
        for scaler in document["scalers"]
    }


def _trigger_faults(item: dict[str, Any]) -> list[str]:
    found = []
    for trigger in item["spec"]["triggers"]:
        known = _scalers().get(trigger["type"])
        if known is None:
            found.append(f"KEDA has no scaler {trigger['type']!r}")
            continue
        readable = {name for name, parameter in known.items() if parameter.get("metadataVariableReadable")}
        needed = {
            name
            for name, parameter in known.items()
            if not parameter.get("optional") and "default" not in parameter and name in readable
        }
        given = trigger["metadata"]
        found += [f"{trigger['type']} does not read {name!r}" for name in sorted(set(given) - readable)]
        found += [f"{trigger['type']} needs {name!r}" for name in sorted(needed - set(given))]
        found += [f"{name} is no text: {value!r}" for name, value in given.items() if not isinstance(value, str)]
    return found
