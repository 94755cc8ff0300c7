"""ComfyUI's three folders: input, output and temp; where names lead, and which lead nowhere."""

import os
import re
import shutil
import time
from collections import deque
from pathlib import Path
from typing import Literal

FolderType = Literal["input", "output", "temp"]
FOLDER_TYPES: tuple[FolderType, ...] = ("input", "output", "temp")
_ANNOTATION = re.compile(r" ?\[(input|output|temp)\]$")


def folder_type(name: str) -> FolderType | None:
    """The folder of this name, if it is one of the three."""
    return next((folder for folder in FOLDER_TYPES if folder == name), None)


class OutsideFolderError(Exception):
    """A path leads outside the folder it belongs to."""


def split_annotation(name: str) -> tuple[str, FolderType | None]:
    """Reads ``up.png [temp]``: the bare name, and the folder if one is named."""
    match = _ANNOTATION.search(name)
    if match is None:
        return name, None
    return name[: match.start()], folder_type(match.group(1))


class Files:
    """The folders of one server."""

    def __init__(self, base: Path, keep_outputs: int) -> None:
        self.base = base.resolve()
        self._keep = keep_outputs
        self._written: deque[Path] = deque()
        self._counters: dict[tuple[Path, str], int] = {}
        # The original empties its temp folder at start; input and output stay.
        shutil.rmtree(self.base / "temp", ignore_errors=True)
        for folder in FOLDER_TYPES:
            (self.base / folder).mkdir(parents=True, exist_ok=True)

    def folder(self, kind: FolderType) -> Path:
        """The path of a folder."""
        return self.base / kind

    def inside(self, kind: FolderType, *parts: str) -> Path:
        """Joins parts below a folder.

        Raises:
            OutsideFolderError: the result would lie elsewhere.
        """
        folder = self.folder(kind)
        path = folder.joinpath(*parts).resolve()
        if path != folder and folder not in path.parents:
            raise OutsideFolderError(str(path))
        return path

    def find(self, name: str, default: FolderType = "input") -> Path | None:
        """The existing file that a loader node names, as ``jobs/a/up.png`` or ``up.png [temp]``."""
        bare, kind = split_annotation(name)
        try:
            path = self.inside(kind or default, bare)
        except (OutsideFolderError, ValueError):
            return None
        return path if path.is_file() else None

    def exists(self, name: str) -> bool:
        """Whether there is anything of this name, a folder too: all that the original asks before a run.

        Raises:
            AttributeError: the name is no text, as the original words it.
        """
        if not isinstance(name, str):
            raise AttributeError(f"'{type(name).__name__}' object has no attribute 'endswith'")  # noqa: TRY004
        bare, kind = split_annotation(name)
        try:
            return self.inside(kind or "input", bare).exists()
        except (OutsideFolderError, ValueError):
            return False

    def input_names(self) -> list[str]:
        """Names of the files right in the input folder: the choices of a loader node."""
        return sorted(path.name for path in self.folder("input").iterdir() if path.is_file())

    def upload(self, kind: FolderType, subfolder: str, name: str, data: bytes, *, overwrite: bool) -> str:
        """Stores an upload; the same bytes keep their name, others get ``name (1).png``.

        Raises:
            OutsideFolderError: the name or subfolder leads outside.
        """
        path = self.inside(kind, subfolder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        stem, suffix = path.stem, path.suffix
        number = 0
        while not overwrite and path.exists():
            if path.read_bytes() == data:
                return path.name
            number += 1
            path = path.with_name(f"{stem} ({number}){suffix}")
        path.write_bytes(data)
        return path.name

    def save(
        self, kind: FolderType, prefix: str, suffix: str, data: bytes, pattern: str = "{}_{:05}_{}"
    ) -> dict[str, str]:
        """Writes a result under the next free number: ``probe_00001_.png``.

        Returns:
            ``{"filename", "subfolder", "type"}`` as history shows it.

        Raises:
            OutsideFolderError: the prefix leads outside.
        """
        now = time.localtime()
        for word, value in {
            "year": now.tm_year,
            "month": f"{now.tm_mon:02}",
            "day": f"{now.tm_mday:02}",
            "hour": f"{now.tm_hour:02}",
            "minute": f"{now.tm_min:02}",
            "second": f"{now.tm_sec:02}",
        }.items():
            prefix = prefix.replace(f"%{word}%", str(value))
        head, _, name = prefix.rpartition("/")
        try:
            folder = self.inside(kind, head.lstrip("/")) if not prefix.startswith("/") else self.inside(kind, head)
        except OutsideFolderError as error:
            message = (
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: {error}\n         output_dir: {self.folder(kind)}\n"
                f"         commonpath: {os.path.commonpath([str(error), self.folder(kind)])}"
            )
            raise OutsideFolderError(message) from error
        folder.mkdir(parents=True, exist_ok=True)
        number = self._next_number(folder, name)
        path = folder / pattern.format(name, number, suffix)
        path.write_bytes(data)
        self._forget_oldest(path)
        subfolder = folder.relative_to(self.folder(kind)).as_posix()
        return {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": kind}

    def _next_number(self, folder: Path, name: str) -> int:
        key = (folder, name)
        if key not in self._counters:
            numbers = re.compile(re.escape(name) + r"_(\d+)")
            found = (numbers.match(path.name) for path in folder.iterdir())
            self._counters[key] = max((int(match.group(1)) for match in found if match), default=0)
        self._counters[key] += 1
        return self._counters[key]

    def _forget_oldest(self, path: Path) -> None:
        self._written.append(path)
        while len(self._written) > self._keep:
            self._written.popleft().unlink(missing_ok=True)
