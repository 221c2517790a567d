"""Where the broker is and how to log in: the `[broker]` table of both programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sprout_link.errors import TransportError

_MAX_PASSWORD_BYTES: Final = 4096


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[broker]` table of both programs' settings."""

    host: Annotated[str, Meta(min_length=1, max_length=253)] = "127.0.0.1"
    """Name or address of the MQTT 5 broker."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    """TCP port; brokers use 1883 without TLS and 8883 with it."""
    username: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    """Name to log in with; none logs in as nobody."""
    password_file: Annotated[str, Meta(min_length=1)] | None = None
    """File whose first line is the password; relative to the settings file's folder."""
    ca_file: Annotated[str, Meta(min_length=1)] | None = None
    """PEM file of the authority that signed the broker's certificate; giving it turns TLS
    on. Relative to the settings file's folder."""
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    """Seconds of silence after which the broker is asked whether it is still there."""

    def beside(self, folder: Path) -> BrokerSettings:
        """These settings with relative paths taken from `folder`."""
        return msgspec.structs.replace(
            self,
            password_file=_beside(folder, self.password_file),
            ca_file=_beside(folder, self.ca_file),
        )


def _beside(folder: Path, name: str | None) -> str | None:
    return None if name is None else str(folder / Path(name).expanduser())


def read_password(name: str | None) -> str | None:
    """First line of the file `name`; none when there is no name.

    Raises:
        TransportError: it cannot be read, or is too long to be a password.
    """
    if name is None:
        return None
    path = Path(name)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PASSWORD_BYTES + 1)
        if len(data) > _MAX_PASSWORD_BYTES:
            raise TransportError(f"{path}: over {_MAX_PASSWORD_BYTES} bytes, expected a password")
        return data.decode("utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise TransportError(f"{path}: the password cannot be read: {error}") from error
