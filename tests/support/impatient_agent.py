"""`python -m tests.support.impatient_agent`: an agent that gives an interrupted run a tenth of the time to end."""

from __future__ import annotations

import sys

from agent import __main__ as program
from agent import running
from agent.runtimes.comfyui import stopping as comfyui
from agent.runtimes.sdwebui import adapter as sdwebui

if __name__ == "__main__":
    for module, name in ((running, "INTERRUPT_TIMEOUT"), (comfyui, "INTERRUPT_GRACE"), (sdwebui, "INTERRUPT_GRACE")):
        vars(module)[name] /= 10
    sys.exit(program.main())
