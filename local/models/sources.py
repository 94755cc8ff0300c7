"""Turns the files and folders that a user names into what is to be put where in the model bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from local.models.inspection import PICKLES, SAFETENSORS, RefusedFileError, inspect
from local.models.kind import guess_folder
from local.models.layout import FOLDERS, WrongPlaceError, key_of, place_in_tree
from local.models.push import Push


def named_files(paths: list[Path]) -> Iterator[tuple[Path, PurePosixPath | None]]:
    """Yields the models that were named, in order; with its path inside a folder for what was found in that folder.

    Raises:
        RefusedFileError: something named is not there, or a folder has no model in it.
    """
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise RefusedFileError(f"{path}: is not there")
            yield path, None
            continue
        found = sorted(item for item in path.rglob("*") if item.suffix.lower() in PICKLES | {SAFETENSORS})
        if not found:
            raise RefusedFileError(f"{path}: has no model in it")
        for item in found:
            yield item, PurePosixPath(*item.relative_to(path.parent if _is_model_folder(path) else path).parts)


def _is_model_folder(path: Path) -> bool:
    return path.resolve().name.lower() in {folder.lower() for folder in FOLDERS}


def planned(path: Path, relative: PurePosixPath | None, *, folder: str | None, allow_pickle: bool) -> Push:
    """Checks one file and returns where it goes.

    The folder is what was said, else what the tree says that it was found in, else what its header tells.

    Raises:
        RefusedFileError: it may not go into the bucket, or it cannot be told where.
    """
    inspected = inspect(path, allow_pickle=allow_pickle)
    name = path.name
    try:
        if folder is None and relative is not None and (place := place_in_tree(relative)) is not None:
            folder, name = place
        if folder is None and inspected.header is not None:
            folder = guess_folder(inspected.header)
        if folder is None:
            raise RefusedFileError(f"{path}: cannot be told what it is; say --folder with one of {', '.join(FOLDERS)}")
        return Push(path, key_of(folder, name), inspected.size)
    except WrongPlaceError as error:
        raise RefusedFileError(f"{path}: {error}") from error
