"""What was delivered to webhooks, and what signs it."""

from __future__ import annotations

from typing import Any

from api import schemas
from api.openapi.build import Build
from api.openapi.parameters import DELIVERY, SUBMISSION, TASK_ID, TENANT


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    return {
        "/v1/tasks/{task_id}/deliveries": {
            "get": build.operation(
                "listDeliveries",
                "List what was delivered to the webhook",
                {200: build.json("Each event with its attempts, in order.", schemas.WebhookDeliveries)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[TASK_ID, TENANT, SUBMISSION],
            )
        },
        "/v1/tasks/{task_id}/deliveries/{number}/redeliver": {
            "post": build.operation(
                "redeliver",
                "Deliver to the webhook once more",
                {202: build.json("It is tried again, under the same id.", schemas.WebhookDelivery)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[TASK_ID, DELIVERY, TENANT, SUBMISSION],
            )
        },
        "/v1/webhook-secrets": {
            "get": build.operation(
                "showWebhookSecrets",
                "Show the secrets that sign one's webhooks",
                {200: build.json("The newest first.", schemas.WebhookSecrets)},
                400,
                tag="tasks",
                description="Standard Webhooks' libraries verify a delivery with any of them.",
            )
        },
    }
