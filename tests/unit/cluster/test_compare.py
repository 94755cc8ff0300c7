"""When reality and the rules count as apart."""

from __future__ import annotations

from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling
from tests.cluster.compare import Moment, apart, foretold


def moments(replicas: list[int], messages: int = 40) -> list[Moment]:
    return [Moment(float(at), Backlog(messages), number) for at, number in enumerate(replicas)]


def test_what_is_late_by_a_period_or_off_by_one_is_near_and_nothing_else() -> None:
    seen = moments([0] * 20 + [4] * 40)
    assert apart(seen, [0] * 10 + [4] * 50, period=15) == []
    assert apart(seen, [0] * 30 + [3] * 30, period=15) == []
    assert apart(seen, [4] * 60, period=15) == [0, 1, 2, 3, 4]
    assert apart(seen, [6] * 60, period=15)[-1] == 59


def test_the_rules_are_told_the_queue_that_was_seen() -> None:
    scaling = Scaling(queue_length=10, max_replica_count=4)
    assert foretold(scaling, moments([0] * 20))[-1] == 4
    assert set(foretold(scaling, moments([0] * 20, messages=0))) == {0}
