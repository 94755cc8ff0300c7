"""SD Web UI's one global state: what GET progress shows, and what interrupt and skip act on."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class State:
    """The fields of ``modules.shared.state``; they name no request, since there is one state for all."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0
    time_start: float = field(default_factory=time.monotonic)

    def begin(self, job: str) -> None:
        """Starts a job whose size is not known yet; this forgets an interrupt that came while nothing ran."""
        self.skipped = self.interrupted = self.stopping_generation = False
        self.job = job
        self.job_count = -1
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")
        self.job_no = self.sampling_step = 0
        self.time_start = time.monotonic()

    def sample(self, job_no: int, steps: int) -> None:
        """Starts to sample; until then the steps of the job before are told."""
        self.job_no, self.sampling_step, self.sampling_steps = job_no, 0, steps

    def end(self) -> None:
        """Ends the job."""
        self.job = ""
        self.job_count = 0

    def progress(self) -> tuple[float, float]:
        """Share done, 0 to 1, and seconds left; both 0 when idle."""
        if self.job_count == 0:
            return 0.0, 0.0
        share = 0.01
        if self.job_count > 0:
            share += self.job_no / self.job_count
        if self.sampling_steps > 0:
            share += self.sampling_step / self.sampling_steps / self.job_count
        share = min(share, 1.0)
        elapsed = time.monotonic() - self.time_start
        return share, elapsed / share - elapsed

    def describe(self) -> dict[str, object]:
        """The ``state`` of GET progress."""
        return {
            "skipped": self.skipped,
            "interrupted": self.interrupted,
            "stopping_generation": self.stopping_generation,
            "job": self.job,
            "job_count": self.job_count,
            "job_timestamp": self.job_timestamp,
            "job_no": self.job_no,
            "sampling_step": self.sampling_step,
            "sampling_steps": self.sampling_steps,
        }
