"""What this machine is, in one short name: part of what an artifact must fit."""

from __future__ import annotations

import platform


def platform_key() -> str:
    """Machine and operating system, for instance `aarch64-linux`."""
    return f"{platform.machine() or 'unknown'}-{platform.system().lower() or 'unknown'}"
