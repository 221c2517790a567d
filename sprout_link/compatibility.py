"""Does an artifact fit a device? Pure: every reason why it does not, at once."""

from __future__ import annotations

from sprout_link.artifact import Manifest
from sprout_link.messages import DeviceProfile


def reasons_against(manifest: Manifest, profile: DeviceProfile, *, device: str) -> list[str]:
    """Why `manifest` cannot be used on `device`; an empty list when it can."""
    reasons = []
    if manifest.device != device:
        reasons.append(f"it was made for the device {manifest.device}, this is {device}")
    if manifest.base_sha256 != profile.base_sha256:
        reasons.append(
            f"it was trained over the base {manifest.base_sha256[:12]}…, "
            f"this device runs {profile.base_sha256[:12]}…"
        )
    if manifest.architecture != profile.architecture:
        reasons.append(
            f"it is for the architecture {manifest.architecture}, "
            f"the base is {profile.architecture}"
        )
    if manifest.runtime != profile.runtime:
        reasons.append(
            f"it needs the runtime {manifest.runtime}, this device has {profile.runtime}"
        )
    return reasons
