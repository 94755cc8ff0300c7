"""The models of time and video memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel

pixels = st.integers(8, 4096)
batches = st.integers(1, 16)


def test_the_mean_request_takes_about_one_and_a_half_seconds() -> None:
    latency = LatencyModel()
    assert latency.overhead() + 16 * latency.step(512, 512) == pytest.approx(1.5, abs=0.1)


def test_an_sdxl_sized_image_takes_about_nine_seconds() -> None:
    latency = LatencyModel()
    assert latency.overhead() + 20 * latency.step(1024, 1024) == pytest.approx(9, abs=1)


@given(pixels, pixels, batches)
def test_scale_zero_makes_everything_instant(width: int, height: int, batch: int) -> None:
    latency = LatencyModel(0.0)
    assert latency.step(width, height, batch) == latency.overhead() == latency.upscale(width, height) == 0
    assert latency.model_load(memory.model_bytes("xl")) == 0


@given(pixels, pixels, batches, st.floats(0, 100))
def test_time_grows_with_size_batch_and_scale(width: int, height: int, batch: int, scale: float) -> None:
    step = LatencyModel(scale).step
    assert 0 <= step(width, height, batch) <= step(width + 8, height, batch)
    assert step(width, height, batch) == pytest.approx(batch * step(width, height))
    assert step(width, height) == pytest.approx(scale * LatencyModel().step(width, height))


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_seconds_per_task_replaces_what_the_model_says(modelled: float, fixed: float) -> None:
    assert LatencyModel(1.0, fixed).task_seconds(modelled) == fixed
    assert LatencyModel(1.0).task_seconds(modelled) == modelled
    assert LatencyModel(1.0, fixed).model_load(memory.GIB) == 0


@given(pixels, pixels, batches)
def test_memory_grows_with_size_and_batch(width: int, height: int, batch: int) -> None:
    assert memory.generation_bytes(width, height, batch) <= memory.generation_bytes(width, height + 8, batch)
    assert memory.generation_bytes(width, height, batch) <= memory.generation_bytes(width, height, batch + 1)


@pytest.mark.parametrize(
    ("width", "height", "batch", "fits"),
    [(512, 512, 1, True), (512, 512, 8, True), (1024, 1024, 4, True), (2048, 2048, 1, False), (512, 512, 64, False)],
)
def test_an_a10g_holds_what_one_would_expect(width: int, height: int, batch: int, *, fits: bool) -> None:
    needed = memory.model_bytes("v1-5") + memory.generation_bytes(width, height, batch)
    assert (needed <= 24 * memory.GIB) is fits


def test_four_times_upscaling_of_a_photo_fits_and_eight_times_2048_does_not() -> None:
    assert memory.upscale_bytes(4096, 4096) < 22 * memory.GIB < memory.upscale_bytes(16384, 16384)
