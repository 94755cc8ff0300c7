"""`python -m tests.attack`: attacks a local stack that it starts itself, and judges how it stands."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.attack.run import Attack
    from tests.attack.verdict import Pulse

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Nothing heavy is imported here: the processes of a run are forked from one that has imported this module.


def main() -> int:
    """Returns 0 when all held, 1 when something did not, and 2 when there was no attack."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attack",
        description="Starts a stack on loopback and sends it hostile heads, bodies, keys, links and slow connections; "
        "then judges errors, stalls of /healthz, memory, and whether a server was reached that nothing may reach. "
        "Takes two to three minutes.",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="GROUP",
        choices=["heads", "bodies", "crowd", "keys", "links", "slow"],
        help="heads, bodies, crowd, keys, links or slow; may be given several times (default: all)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs of a clean run, too")
    arguments = parser.parse_args()
    return _run(arguments)


def _break_off(*_: object) -> None:
    """Ends it once: a second signal, which often follows at once, would end the ending of its processes."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(arguments: argparse.Namespace) -> int:
    from local.emulators.environment import EnvironmentFailedError
    from local.emulators.process import EmulatorFailedError
    from local.folders import state_folder
    from tests.attack.run import GROUPS, Attack
    from tests.attack.verdict import judge

    folder = state_folder() / "attack" / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True, exist_ok=True)
    for number in _SIGNALS:
        signal.signal(number, _break_off)
    attack = Attack(arguments.only or GROUPS, folder, lambda line: print(line, flush=True))
    try:
        pulse = attack.run()
    except KeyboardInterrupt:
        sys.stderr.write("attack: broken off; its processes have ended\n")
        return 2
    except (AssertionError, EnvironmentFailedError, EmulatorFailedError) as error:
        sys.stderr.write(f"attack: it could not begin: {error}\nlogs: {folder}\n")
        return 2
    wrong = judge(attack.tried, pulse, attack.phases, rest=attack.rest, after=attack.after, hits=attack.hits)
    _print(attack, pulse)
    for sentence in wrong[:40]:
        print(f"DID NOT HOLD  {sentence}")
    if len(wrong) > 40:
        print(f"… and {len(wrong) - 40} more")
    if wrong or arguments.keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    total = sum(item.count for item in attack.tried)
    print(f"{total} tries: " + (f"{len(wrong)} things did not hold" if wrong else "all held"))
    return 1 if wrong else 0


def _print(attack: Attack, pulse: Pulse) -> None:
    from rich.console import Console
    from rich.table import Table

    from tests.attack.verdict import mib

    console = Console()
    table = Table("tried", "what", "times", "answers", box=None)
    for item in attack.tried:
        answers = ", ".join(f"{status or 'closed'}×{count}" for status, count in sorted(item.statuses.items()))
        table.add_row(item.group, item.what, str(item.count), answers)
    console.print(table)
    table = Table(
        "phase", "/healthz worst", "control worst", "work took", *(f"{name} peak" for name in pulse.memory), box=None
    )
    for phase in (attack.rest, *attack.phases, attack.after):
        span = (phase.begin, phase.end)
        worst = [f"{pulse.worst(name, *span) * 1000:.0f} ms" for name in ("api", "control")]
        worst.append(f"{pulse.slower(*span):.1f} times")
        table.add_row(phase.name, *worst, *(mib(max(pulse.resident(name, *span), default=0)) for name in pulse.memory))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
