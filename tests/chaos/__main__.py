"""`python -m tests.chaos`: runs a trial from a seed, judges it, and says how to repeat it."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path

# Nothing heavy is imported here: the processes of a trial are forked from one that has imported this module.


def main() -> int:
    """Returns 0 when nothing was lost, 1 when something was, and 2 when there was no trial."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Lets agents, runtimes and AWS fail at random while tasks are on their way, and checks afterwards "
        "that nothing was lost, done twice without cause, overwritten or left behind.",
    )
    parser.add_argument("--seed", type=int, help="repeats the faults of an earlier trial; drawn when not given")
    parser.add_argument("--tasks", type=int, default=400, help="how many (default: 400)")
    parser.add_argument("--agents", type=int, default=3, help="from the start; one more comes late (default: 3)")
    parser.add_argument("--slots", type=int, help="runs at each runtime at once; drawn when not given")
    parser.add_argument("--seconds", type=float, default=600, help="the most that all may take (default: 600)")
    parser.add_argument("--window", type=float, help="seconds of faults (default: 180, at most 0.4 of --seconds)")
    parser.add_argument(
        "--runtime",
        action="append",
        default=[],
        choices=["sdwebui", "comfyui", "invokeai", "http", "openai"],
        help="types of the runtimes, one after the other (repeatable); drawn when not given",
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="KIND", help="leave out a kind of task (repeatable)"
    )
    parser.add_argument("--plan", action="store_true", help="print every task and fault of the seed, and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep the history of a clean trial, too")
    parser.add_argument("--check", type=Path, metavar="HISTORY", help="judge the history of an earlier trial again")
    arguments = parser.parse_args()
    if arguments.tasks < 1 or arguments.agents < 1 or arguments.seconds <= 0 or arguments.slots == 0:
        parser.error("--tasks, --agents, --slots and --seconds must be more than nothing")
    return _judge_again(arguments.check) if arguments.check else _run(arguments)


def _judge_again(path: Path) -> int:
    from tests.chaos.checker import check
    from tests.chaos.history import read
    from tests.chaos.report import summary

    if not path.is_file():
        sys.stderr.write(f"chaos: {path}: no such file; give the history.jsonl of a trial\n")
        return 2
    verdict = check(read(path))
    print(summary(verdict))
    return 1 if verdict.violations else 0


def _run(arguments: argparse.Namespace) -> int:
    from contract.task import RuntimeType
    from local.emulators.environment import EnvironmentFailedError
    from local.emulators.process import EmulatorFailedError
    from local.folders import state_folder
    from tests.chaos.checker import check
    from tests.chaos.plan import TaskKind, make_plan
    from tests.chaos.report import repeat_command, summary
    from tests.chaos.trial import Trial, TrialError

    unknown = set(arguments.without) - set(TaskKind)
    if unknown:
        sys.stderr.write(f"chaos: --without {', '.join(sorted(unknown))}: the kinds are {', '.join(TaskKind)}\n")
        return 2
    seed = secrets.randbelow(100_000) if arguments.seed is None else arguments.seed
    plan = make_plan(
        seed,
        tasks=arguments.tasks,
        agents=arguments.agents,
        window=arguments.window or min(180.0, 0.4 * arguments.seconds),
        slots=arguments.slots,
        types=[RuntimeType(name) for name in arguments.runtime],
        without=[TaskKind(name) for name in arguments.without],
    )
    if arguments.plan:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    print(plan.describe(), flush=True)
    if arguments.plan:
        print(*plan.tasks, *plan.faults, sep="\n")
        return 0
    folder = state_folder() / "chaos" / f"{seed}-{time.strftime('%H%M%S')}"
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    trial = Trial(plan, folder, limit=arguments.seconds, say=lambda line: print(line, flush=True))
    try:
        events = trial.run()
    except (TrialError, EnvironmentFailedError, EmulatorFailedError) as error:
        sys.stderr.write(f"chaos: the trial could not begin: {error}\nlogs: {folder}\n")
        return 2
    verdict = check(events)
    print(summary(verdict))
    command = repeat_command(plan, seconds=arguments.seconds, without=arguments.without)
    if verdict.violations or arguments.keep:
        print(f"history and logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"again: {command}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
