"""How tasks are listed, asked for, followed and cancelled."""

from __future__ import annotations

from typing import Any, Final

from api import schemas
from api.openapi.build import Build, text
from api.openapi.parameters import (
    AGAINST,
    ENVIRONMENT,
    FILTERS,
    LAST_EVENT_ID,
    LAST_SEEN,
    OF_RUNTIME,
    SPAN,
    TASK_ID,
    TENANT,
)

_LISTING: Final = """\
Each task is listed once, where its newest submission is. Where only states out of `failed`, `cancelled` and `expired`
are wanted, the order is that of their ends. A page may be shorter than `limit` although there is a `next`: states have
to be looked for."""


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    return {
        "/v1/tasks": {
            "get": build.operation(
                "listTasks",
                "List the tasks",
                {200: build.json("The tasks of the API key's tenant, the newest first.", schemas.TaskList)},
                400,
                403,
                503,
                tag="tasks",
                description=_LISTING,
                parameters=[*FILTERS, TENANT],
            ),
        },
        "/v1/tasks/{task_id}": {
            "get": build.operation(
                "getTask",
                "Ask for a task",
                {200: build.json("How it stands.", schemas.Task)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[TASK_ID, TENANT],
            ),
            "delete": build.operation(
                "cancelTask",
                "Cancel a task",
                {
                    200: build.json("It had not begun, and will not; its callback is out.", schemas.Task),
                    202: build.json("It runs; its agent was asked to stop it.", schemas.Task),
                },
                403,
                404,
                409,
                503,
                tag="tasks",
                parameters=[TASK_ID, TENANT],
            ),
        },
        "/v1/tasks/{task_id}/events": {
            "get": build.operation(
                "followTask",
                "Follow a task",
                {
                    200: text("Server-sent events named after the states; data is the task.", "text/event-stream"),
                    204: {"description": "The client has seen the end."},
                },
                403,
                404,
                503,
                tag="tasks",
                description="Ends when the task has ended.",
                parameters=[TASK_ID, TENANT, LAST_EVENT_ID],
            )
        },
        "/v1/tasks/{task_id}/request": {
            "get": build.operation(
                "getRequest",
                "Ask for what a task asked for",
                {200: build.json("As it was sent; its secrets are left out.", schemas.KeptRequest)},
                403,
                404,
                503,
                tag="tasks",
                description="404 with the code `request_not_kept` says why it is not there.",
                parameters=[TASK_ID, TENANT],
            )
        },
        "/v1/tasks/{task_id}/submissions": {
            "get": build.operation(
                "listSubmissions",
                "Ask for a task's earlier submissions, too",
                {200: build.json("The newest first; of those that have ended, the last 20.", schemas.SubmissionList)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[TASK_ID, TENANT],
            )
        },
        "/v1/events": {
            "get": build.operation(
                "followTasks",
                "Follow all tasks",
                {
                    200: text(
                        "Server-sent events: `task` (data is the task, its `context` and most of its images left out "
                        "where it is long: it has `shortened` then), `ready` (what is unfinished has been told), "
                        "`reset` (something may have been missed: read the tasks anew).",
                        "text/event-stream",
                    ),
                },
                400,
                403,
                503,
                tag="tasks",
                description="Begins with every unfinished task, or after `Last-Event-ID`. It does not end by itself.",
                parameters=[TENANT, LAST_SEEN],
            )
        },
        "/v1/usage": {
            "get": build.operation(
                "sumUsage",
                "Ask what tasks have cost",
                {200: build.json("The sums, the dearest first.", schemas.Usage)},
                400,
                403,
                503,
                tag="tasks",
                description="Of the API key's tenant; of all tenants for an admin's key that names none.",
                parameters=[*SPAN, TENANT],
            )
        },
        "/v1/runtimes": {
            "get": build.operation(
                "listRuntimes",
                "List the runtimes",
                {200: build.json("The runtimes with the depth of their queues.", schemas.RuntimeList)},
                tag="tasks",
            )
        },
        "/v1/runtimes/{runtime}/agents": {
            "get": build.operation(
                "listAgents",
                "List the agents of a runtime",
                {200: build.json("Its agents, as they told of themselves last.", schemas.RuntimeAgents)},
                404,
                503,
                tag="tasks",
                description="An agent tells what it does when that changes, at most every 15 s in the long run, and "
                "once a minute otherwise. One that was killed is listed for two and a half minutes.",
                parameters=[OF_RUNTIME],
            ),
        },
        "/v1/runtimes/{runtime}/environment": {
            "get": _environment(build, "getEnvironment", "Ask what a runtime's server is made of", [OF_RUNTIME]),
        },
        "/v1/runtimes/{runtime}/environment/{hash}": {
            "get": _environment(
                build, "getEnvironmentByHash", "Ask for one of a runtime's environments", [OF_RUNTIME, ENVIRONMENT]
            ),
        },
        "/task": {
            "get": build.operation(
                "queryTask",
                "Ask for a task",
                {200: build.json("How it stands.", schemas.TaskState)},
                400,
                403,
                404,
                503,
                tag="tasks",
                parameters=[
                    {
                        "name": "taskId",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                        "description": "As answered by POST /task.",
                    },
                    TENANT,
                ],
            ),
        },
    }


def _environment(build: Build, name: str, summary: str, place: list[dict[str, Any]]) -> dict[str, Any]:
    return build.operation(
        name,
        summary,
        {200: build.json("As the server itself tells of it.", schemas.RuntimeEnvironment)},
        400,
        404,
        503,
        tag="tasks",
        parameters=[*place, AGAINST],
    )
