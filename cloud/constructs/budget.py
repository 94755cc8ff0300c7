"""The monthly budget of a deployment."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from constructs import Construct

from cloud import names
from contract.config import Budget, Config


class MonthlyBudget(Construct):
    """Tells by e-mail when 80 per cent are spent, and when the month will cost more than it may."""

    def __init__(self, scope: Construct, construct_id: str, *, config: Config, region: str, budget: Budget) -> None:
        super().__init__(scope, construct_id)

        def notice(kind: str, percent: int) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
            return budgets.CfnBudget.NotificationWithSubscribersProperty(
                notification=budgets.CfnBudget.NotificationProperty(
                    notification_type=kind,
                    comparison_operator="GREATER_THAN",
                    threshold=percent,
                    threshold_type="PERCENTAGE",
                ),
                subscribers=[budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=budget.email)],
            )

        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=names.budget(config, region),
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=budget.monthly_usd, unit="USD"),
                # The tag must be activated for cost allocation once per account.
                cost_filters={
                    "TagKeyValue": [f"user:{names.DEPLOYMENT_TAG}${config.stack_name}"],
                    # A deployment of the same name in another region has a budget of its own.
                    "Region": [region],
                },
            ),
            notifications_with_subscribers=[notice("ACTUAL", 80), notice("FORECASTED", 100)],
        )
