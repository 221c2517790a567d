"""Reads the router out of an adapter file's header, if there is one."""

from __future__ import annotations

from sprout_link.errors import ModelFileError
from sprout_link.gguf_header import Header
from sprout_link.router import ARRAY_KEYS, KEY_LAYER, Router, from_metadata


def router_of(header: Header, *, hidden_size: int, layers: int) -> Router | None:
    """The router that a file brings; none when nothing in it names one.

    Args:
        header: of the adapter's file, read with `arrays=ARRAY_KEYS`.
        hidden_size: of the base.
        layers: of the base.

    Raises:
        ModelFileError: there is a router and it is damaged or does not fit the base.
    """
    keys = {KEY_LAYER, *ARRAY_KEYS}
    if not any(keys & set(found) for found in (header.arrays, header.numbers, header.strings)):
        return None
    layer = header.numbers.get(KEY_LAYER)
    if layer is None or not layer.is_integer():
        raise ModelFileError(f"its router is not whole: {KEY_LAYER} is {layer}, expected a layer")
    return from_metadata(int(layer), header.arrays, hidden_size=hidden_size, layers=layers)
