"""Output nodes: what they write, and how history names it."""

import random
from collections.abc import Callable

from fake_runtime import images, media
from fake_runtime.comfyui.files import FolderType
from fake_runtime.comfyui.node_types import Audio, Context, Pictures, Result, Values


def _png_chunks(context: Context) -> dict[str, str]:
    """What a saved picture carries: the whole prompt, as in the original."""
    return {"prompt": context.prompt_json}


def saver(folder: FolderType) -> Callable[[Context, Values], Result]:
    """SaveImage and PreviewImage, which makes up a prefix of its own."""
    letters = "".join(random.choices("abcdefghijklmnopqrstupvxyz", k=5))  # noqa: S311 - as in the original

    def save(context: Context, values: Values) -> Result:
        prefix = values.get("filename_prefix", f"ComfyUI_temp_{letters}")
        saved = []
        for picture in values["images"]:
            text = prefix.replace("%width%", str(picture.width)).replace("%height%", str(picture.height))
            data = images.encode_png(picture, _png_chunks(context))
            saved.append(context.files.save(folder, text, ".png", data))
        return Result((), {"images": saved})

    return save


def send(_context: Context, values: Values) -> Result:
    """SaveImageWebsocket: nothing is written."""
    return Result(sent=tuple(images.encode_png(picture, {}) for picture in values["images"]))


def save_animation(kind: str, suffix: str) -> Callable[[Context, Values], Result]:
    """SaveAnimatedWEBP and SaveAnimatedPNG."""

    def save(context: Context, values: Values) -> Result:
        data = media.animated(values["images"], kind, values["fps"])
        saved = context.files.save("output", values["filename_prefix"], suffix, data)
        return Result((), {"images": [saved], "animated": [len(values["images"]) != 1]})

    return save


def combine_video(context: Context, values: Values) -> Result:
    """VHS_VideoCombine: its results are called gifs, whatever they are."""
    pictures: Pictures = values["images"]
    kind, _, codec = values["format"].partition("/")
    frame_rate = float(values["frame_rate"])
    if kind == "image":
        data, suffix = media.animated(pictures, codec.upper(), frame_rate), f".{codec}"
    else:
        data = media.mp4([images.encode_jpeg(picture) for picture in pictures], frame_rate)
        suffix = ".webm" if codec == "webm" else ".mp4"
    folder: FolderType = "output" if values["save_output"] else "temp"
    saved = context.files.save(folder, values["filename_prefix"], suffix, data, "{}_{:05}{}")
    full = {
        "format": values["format"],
        "frame_rate": frame_rate,
        "fullpath": str(context.files.folder("output") / saved["filename"]),
    }
    return Result(((True, [saved["filename"]]),), {"gifs": [{**saved, **full}]})


def make_video(_context: Context, values: Values) -> Result:
    """CreateVideo."""
    return Result((media.mp4([images.encode_jpeg(picture) for picture in values["images"]], values["fps"]),))


def save_video(context: Context, values: Values) -> Result:
    """SaveVideo: called images too."""
    saved = context.files.save("output", values["filename_prefix"], ".mp4", values["video"])
    return Result((), {"images": [saved], "animated": [True]})


def save_audio(context: Context, values: Values) -> Result:
    """SaveAudio."""
    audio: Audio = values["audio"]
    return Result(
        (), {"audio": [context.files.save("output", values["filename_prefix"], ".flac", media.flac(audio.seconds))]}
    )


def empty_audio(_context: Context, values: Values) -> Result:
    """EmptyAudio: silence."""
    return Result((Audio(values["duration"]),))


def show_text(_context: Context, values: Values) -> Result:
    """ShowText."""
    return Result((values["text"],), {"text": [values["text"]]})
