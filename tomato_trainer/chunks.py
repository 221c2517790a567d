"""Serves parts of the trust repository's files, and of nothing else, to any device.

Everything served is public and signed; the only rules are that a request stays inside the
two folders of the repository and that a reply is bounded.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final, Literal

from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest

# Only names that the publisher itself makes: a path that matches cannot climb out, and the
# temporary files of an unfinished write (they start with a dot) are never served.
_SERVED: Final = re.compile(
    r"metadata/[A-Za-z0-9][A-Za-z0-9.-]{0,120}\.json"
    r"|targets/[a-z0-9][a-z0-9-]{0,62}/[0-9a-f]{64}\.current"
)


def read_chunk(repository: Path, request: ChunkRequest) -> ChunkReply:
    """The part of a file that `request` asks for.

    Args:
        repository: folder that holds `metadata/` and `targets/`.
        request: checked again here, whoever decoded it.

    Returns:
        Up to `CHUNK_BYTES` of data; all that was asked for unless the file ends before.
        `not-found` when there is no such file, `bad-request` when the path, the offset or the
        size is outside what is served. Never raises for what a device sent.
    """
    if not _SERVED.fullmatch(request.path) or not 1 <= request.size <= CHUNK_BYTES:
        return _refusal(request, "bad-request")
    path = repository / request.path
    try:
        # A link inside the repository must not lead out of it: neither a folder on the way
        # (resolved) nor the file itself (not followed).
        if path.parent.resolve() != repository.resolve() / request.path.rpartition("/")[0]:
            return _refusal(request, "not-found")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return _refusal(request, "not-found")
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return _refusal(request, "not-found")
        if request.offset > status.st_size:
            return _refusal(request, "bad-request")
        data = os.pread(handle, request.size, request.offset)
    except OSError:
        return _refusal(request, "not-found")
    finally:
        os.close(handle)
    return ChunkReply(
        path=request.path, offset=request.offset, total_bytes=status.st_size, data=data
    )


def _refusal(request: ChunkRequest, error: Literal["not-found", "bad-request"]) -> ChunkReply:
    return ChunkReply(path=request.path, offset=request.offset, total_bytes=0, error=error)
