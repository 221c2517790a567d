"""Every MQTT topic: how it is built, parsed, and with which quality of service.

sprout/v1/{device}/memories   up    MemoryBatch
sprout/v1/{device}/ack        down  BatchAck
sprout/v1/{device}/state      up    DeviceState   retained, last will
sprout/v1/{device}/offer      down  Offer         retained
sprout/v1/{device}/job        down  JobProgress   retained
sprout/v1/{device}/report     up    Report
sprout/v1/{device}/chunk      down  ChunkReply    response topic of the requests
tomato/v1/fetch               up    ChunkRequest  shared by every trainer
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from sprout_link.errors import TopicError

Channel = Literal["memories", "ack", "state", "offer", "job", "report", "chunk"]

CHANNELS: Final[tuple[Channel, ...]] = (
    "memories", "ack", "state", "offer", "job", "report", "chunk",
)  # fmt: skip
RETAINED: Final[frozenset[Channel]] = frozenset({"state", "offer", "job"})
QOS: Final = 1
"""At least once, everywhere: every receiver is idempotent."""

FETCH: Final = "tomato/v1/fetch"
SHARED_GROUP: Final = "tomato"

_DEVICE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DEVICE_TOPIC = re.compile(r"sprout/v1/(?P<device>[^/]+)/(?P<channel>[^/]+)")


@dataclass(frozen=True)
class DeviceTopic:
    """A topic that belongs to one device."""

    device: str
    channel: Channel


def check_device(name: str) -> str:
    """`name` itself, when it can be part of a topic.

    Raises:
        TopicError: it is anything but 1 to 63 of a-z, 0-9 and inner hyphens.
    """
    if not _DEVICE.fullmatch(name):
        raise TopicError(
            f"a device name is 1 to 63 of a-z, 0-9 and '-' (not at the ends), found {name!r}"
        )
    return name


def build(device: str, channel: Channel) -> str:
    """Topic of one device's channel."""
    return f"sprout/v1/{check_device(device)}/{channel}"


def parse(topic: str) -> DeviceTopic:
    """Device and channel of a topic.

    Raises:
        TopicError: it is not a device's topic.
    """
    match = _DEVICE_TOPIC.fullmatch(topic)
    if match is None:
        raise TopicError(f"not a device's topic: {topic!r}")
    for channel in CHANNELS:
        if channel == match["channel"]:
            return DeviceTopic(check_device(match["device"]), channel)
    raise TopicError(f"no such channel: {match['channel']!r}")


def from_every_device(channel: Channel) -> str:
    """Subscription of the trainers to one channel, each message to one of them."""
    # A group of its own for each filter: rumqttd keeps one position a group, whatever the
    # filter, so messages of one would be skipped after messages of another.
    return f"$share/{SHARED_GROUP}-{channel}/sprout/v1/+/{channel}"


def shared_fetch() -> str:
    """Subscription of the trainers to chunk requests, each to one of them."""
    return f"$share/{SHARED_GROUP}-fetch/{FETCH}"
