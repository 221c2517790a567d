"""Finds the base model with a given hash among the files that the settings name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import read_header, sha256_of
from tomato_trainer.errors import JobError

_log = logging.getLogger(__name__)


class Bases:
    """The base models that can be trained over; hashed when first needed and when changed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """Every file can be read as a model.

        Raises:
            ModelFileError: the first that cannot.
        """
        for path in self._paths:
            read_header(path)

    def find(self, sha256: str) -> Path:
        """The file whose SHA-256 is `sha256`.

        Raises:
            JobError: none has; the message names what there is.
        """
        found = []
        for path in self._paths:
            try:
                own = self._hash_of(path)
            except ModelFileError as error:
                _log.warning("a base model cannot be used: %s", error)
                found.append(f"{path} (unusable)")
                continue
            if own == sha256:
                return path
            found.append(f"{path} ({own})")
        there = ", ".join(found) if found else "none is configured"
        raise JobError(
            f"the device runs the base {sha256}, and base_models has no such file: {there}; "
            "add the device's GGUF file to base_models and restart"
        )

    def _hash_of(self, path: Path) -> str:
        read_header(path)
        try:
            about = path.stat()
            key = (path, about.st_mtime_ns, about.st_size)
            with self._lock:
                if key not in self._hashes:
                    self._hashes[key] = sha256_of(path)
                return self._hashes[key]
        except OSError as error:
            raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
