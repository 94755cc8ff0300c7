"""An attack is judged by what stalls, what stays and what is answered; the machine's own noise is no fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.attack.verdict import Phase, Pulse, Tried, judge

MIB = 1024 * 1024
REST, ATTACK, AFTER = Phase("rest", 0, 9), Phase("bodies", 10, 19), Phase("after", 20, 29)


def measured(**changes: Any) -> Pulse:
    """A quiet attack, but for what a test says: a second's probe or size, by `api_at_12`."""
    probes = {name: [(float(at), 0.01, True) for at in range(30)] for name in ("api", "control")}
    memory = {"api": [(float(at), 100 * MIB) for at in range(30)]}
    for key, value in changes.items():
        name, _, at = key.partition("_at_")
        if isinstance(value, int):
            memory[name][int(at)] = (float(at), value * MIB)
        else:
            probes[name][int(at)] = (float(at), abs(value), value > 0)
    return Pulse(probes, memory)


def wrong(pulse: Pulse, *tried: Tried, hits: int = 0) -> str:
    return "; ".join(judge(tried, pulse, [ATTACK], rest=REST, after=AFTER, hits=hits))


def test_a_quiet_attack_is_clean() -> None:
    refused = Tried("bodies", "a bomb", Counter({400: 3, 503: 1}))
    assert not wrong(measured(api_at_12=240, api_at_15=0.15, api_at_25=150), refused)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"api_at_12": 0.3}, "290 ms longer"),
        ({"api_at_12": -0.01}, "did not answer 200"),
        ({"api_at_12": 260}, "160 MiB more than at rest"),
        ({f"api_at_{second}": 170 for second in range(20, 30)}, "keeps 70 MiB"),
    ],
)
def test_what_does_not_hold_is_named(changes: dict[str, Any], words: str) -> None:
    assert words in wrong(measured(**changes))


def test_what_keeps_the_control_waiting_too_is_the_machine() -> None:
    assert not wrong(measured(api_at_12=0.9, control_at_12=0.8))


def test_on_a_machine_that_others_use_all_takes_longer() -> None:
    pulse = measured(api_at_12=0.7)
    assert not wrong(replace(pulse, slowdown=[(12.1, 4.0)]))
    assert wrong(replace(pulse, slowdown=[(12.1, 2.0), (25.0, 9.0)]))


def test_errors_of_ours_and_hits_and_problems_are_named() -> None:
    assert "answered 500" in wrong(measured(), Tried("keys", "a long key", Counter({500: 1})))
    assert "reached 2 times" in wrong(measured(), hits=2)
    assert "bob reads" in wrong(measured(), Tried("keys", "another's task", Counter({200: 1}), ["bob reads it"]))


def test_measurements_are_read_line_by_line() -> None:
    lines = ['{"name":"api","at":1,"seconds":0.5,"good":true}', '{"name":"api","at":1,"rss":7}', '{"name":"api","at":']
    pulse = Pulse.read(lines)
    assert pulse.worst("api", 1.2, 2) == 0.5
    assert pulse.resident("api", 0, 2) == [7]
