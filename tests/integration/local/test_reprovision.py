"""Under Compose an emulator that was started again, and has forgotten everything, is made whole without a person."""

from __future__ import annotations

from pathlib import Path

from local.clients import make_clients
from local.provision import Action, account_of, provision
from local.reprovision import Reprovision
from tests.support.deployment import Deployment


def test_what_an_emulator_has_forgotten_is_made_anew_and_said(deployment: Deployment, tmp_path: Path) -> None:
    clients, place, said, ready = deployment.clients, deployment.place, list[str](), tmp_path / "ready"
    reprovision = Reprovision(clients, place, say=said.append, ready=ready)
    assert reprovision.look()
    assert (said, ready.exists()) == ([], True)

    for topic in (place.task_topic_arn, place.callback_topic_arn):
        clients.sns.delete_topic(TopicArn=topic)
    for queue in place.queues:
        clients.sqs.delete_queue(QueueUrl=clients.sqs.get_queue_url(QueueName=queue.name)["QueueUrl"])

    assert reprovision.look()
    assert len(said) == 1
    assert "tasks and images from before are gone" in said[0]
    assert {change.action for change in provision(place, clients)} == {Action.UNCHANGED}


def test_while_an_emulator_is_away_it_is_not_ready_and_says_so_once(deployment: Deployment, tmp_path: Path) -> None:
    ready, said = tmp_path / "ready", list[str]()
    ready.touch()
    reprovision = Reprovision(make_clients("http://127.0.0.1:9"), deployment.place, say=said.append, ready=ready)
    assert not reprovision.look()
    assert not reprovision.look()
    assert len(said) == 1
    assert not ready.exists()


def test_the_account_is_what_the_emulator_says(deployment: Deployment) -> None:
    assert account_of(deployment.clients, deployment.place) == deployment.place.account
