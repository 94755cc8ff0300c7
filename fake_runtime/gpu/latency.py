"""How long generation takes: pure functions from a request to seconds on an A10G-like GPU at scale 1."""

from dataclasses import dataclass

# Fitted to two figures: 512x512 with 16 steps takes about 1.5 s (the mean request of the guidance's cost table on a
# g5), and an SDXL-sized image with 20 steps about 9 s. The square term is attention.
SECONDS_PER_STEP_PER_MEGAPIXEL = 0.30
SECONDS_PER_STEP_PER_MEGAPIXEL_SQUARED = 0.13
SECONDS_OVERHEAD = 0.1
# A local NVMe read without mmap.
MODEL_BYTES_PER_SECOND = 1024**3
SECONDS_PER_UPSCALED_MEGAPIXEL = 0.25


@dataclass(frozen=True, slots=True)
class LatencyModel:
    """Turns amounts of work into seconds.

    Attributes:
        scale: factor on every time; 0 makes everything instant.
        seconds_per_task: if given, each task takes exactly that, and models load at once.
    """

    scale: float = 1.0
    seconds_per_task: float | None = None

    def step(self, width: int, height: int, batch_size: int = 1) -> float:
        """Seconds of one sampling step over a whole batch; sizes in pixels."""
        megapixels = width * height / 1e6
        per_image = SECONDS_PER_STEP_PER_MEGAPIXEL * megapixels + SECONDS_PER_STEP_PER_MEGAPIXEL_SQUARED * megapixels**2
        return self.scale * per_image * max(batch_size, 0)

    def overhead(self) -> float:
        """Seconds of a task outside its sampling steps: text encoding, decoding, saving."""
        return self.scale * SECONDS_OVERHEAD

    def upscale(self, width: int, height: int) -> float:
        """Seconds to make an upscaled image of this size in pixels."""
        return self.scale * SECONDS_PER_UPSCALED_MEGAPIXEL * width * height / 1e6

    def model_load(self, model_bytes: int) -> float:
        """Seconds to read a checkpoint of this size and move it to the GPU."""
        if self.seconds_per_task is not None:
            return 0.0
        return self.scale * model_bytes / MODEL_BYTES_PER_SECOND

    def task_seconds(self, modelled: float) -> float:
        """Seconds that a task takes, given what the model says."""
        return modelled if self.seconds_per_task is None else self.seconds_per_task
