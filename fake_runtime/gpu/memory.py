"""How much video memory a request needs, and the words of the error when there is not enough."""

GIB = 1024**3

# Sizes of checkpoints on the GPU, by what their names usually tell: of half precision, Flux of a quarter.
_MODEL_GIB_BY_NAME = (("flux", 12.0), ("sd3", 11.0), ("xl", 6.5))
_DEFAULT_MODEL_GIB = 2.0
# Activations of one image: linear in pixels, plus attention's square. 2048x2048 no longer fits an A10G's 24 GiB.
_GIB_PER_MEGAPIXEL = 2.2
_GIB_PER_MEGAPIXEL_SQUARED = 0.75
# Upscalers work in tiles; what grows is the picture itself, and 16384x16384 is too much for anybody.
_GIB_PER_UPSCALED_MEGAPIXEL = 0.12


class OutOfMemoryError(Exception):
    """A request needs more video memory than there is."""

    def __init__(self, wanted: int, free: int, total: int) -> None:
        self.wanted = wanted
        self.free = free
        self.total = total
        super().__init__(cuda_message(wanted, free, total))


def cuda_message(wanted: int, free: int, total: int) -> str:
    """PyTorch's text for ``torch.cuda.OutOfMemoryError``; all in bytes."""
    return (
        f"CUDA out of memory. Tried to allocate {wanted / GIB:.2f} GiB. GPU 0 has a total capacity of "
        f"{total / GIB:.2f} GiB of which {free / GIB:.2f} GiB is free. See documentation for Memory Management and "
        "PYTORCH_CUDA_ALLOC_CONF"
    )


def model_bytes(name: str) -> int:
    """Bytes of a checkpoint on the GPU, guessed from its file name."""
    lowered = name.lower()
    return int(GIB * next((size for part, size in _MODEL_GIB_BY_NAME if part in lowered), _DEFAULT_MODEL_GIB))


def generation_bytes(width: int, height: int, batch_size: int) -> int:
    """Bytes of activations for a batch of images of this size in pixels."""
    megapixels = width * height / 1e6
    per_image = _GIB_PER_MEGAPIXEL * megapixels + _GIB_PER_MEGAPIXEL_SQUARED * megapixels**2
    return int(GIB * per_image * max(batch_size, 0))


def linear_bytes(width: int, height: int, batch_size: int) -> int:
    """Bytes of activations where attention does not grow with the square, as in the models of 2025 and later."""
    return int(GIB * _GIB_PER_MEGAPIXEL * width * height / 1e6 * max(batch_size, 0))


def upscale_bytes(width: int, height: int) -> int:
    """Bytes to hold an upscaled image of this size in pixels."""
    return int(GIB * _GIB_PER_UPSCALED_MEGAPIXEL * width * height / 1e6)
