"""Pulls files of the trust repository in chunks, bounded, for python-tuf and for targets.

Nothing that comes is trusted here. A reply must carry all that was asked for, so that a
file of N bytes takes at most N / 256 KiB requests whoever answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from sprout_link.messages import CHUNK_BYTES, ChunkReply, ChunkRequest

Request = Callable[[ChunkRequest], ChunkReply]
"""Asks a trainer for a chunk and waits for it; raises TransportError when none answers."""

_NOT_FOUND: Final = 404
_BAD_REQUEST: Final = 400


class ChunkFetcher(FetcherInterface):  # type: ignore[misc, unused-ignore]
    """Fetches `metadata/…` and `targets/…` by requests; the URLs are those paths."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A whole metadata file, kept in memory: python-tuf's own way goes through /tmp.

        Raises:
            DownloadError: it is longer than `max_length`, or does not come whole.
            TransportError: no trainer answered.
        """
        return b"".join(self.pieces(url, max_length))

    def pieces(self, path: str, max_length: int) -> Iterator[bytes]:
        """The parts of a file of at most `max_length` bytes, in order.

        Raises:
            DownloadHTTPError: there is no such file.
            DownloadError: it is longer, changes while it comes, or does not come whole.
            TransportError: no trainer answered.
        """
        offset, total = 0, None
        while total is None or offset < total:
            asked = ChunkRequest(path=path, offset=offset, size=CHUNK_BYTES)
            reply = self._request(asked)
            if reply.error is not None:
                status = _NOT_FOUND if reply.error == "not-found" else _BAD_REQUEST
                raise DownloadHTTPError(f"the trainer has no {path} ({reply.error})", status)
            if (reply.path, reply.offset) != (path, offset):
                raise DownloadError(f"asked for {path}, another file's part came")
            if reply.total_bytes > max_length:
                raise DownloadLengthMismatchError(
                    f"{path} has {reply.total_bytes} bytes, expected at most {max_length}"
                )
            if total is not None and reply.total_bytes != total:
                raise DownloadError(f"{path} changed its length while it was fetched")
            total = reply.total_bytes
            if len(reply.data) != min(CHUNK_BYTES, total - offset):
                raise DownloadError(f"a part of {path} came incomplete")
            offset += len(reply.data)
            yield reply.data

    def _fetch(self, url: str) -> Iterator[bytes]:
        # python-tuf's base class asks for it; everything goes through `download_bytes`.
        raise DownloadError(f"{url}: fetched without a bound")
