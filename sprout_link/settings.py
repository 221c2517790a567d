"""TOML to frozen settings: unknown keys refused, every mistake in one message.

A settings class is a frozen msgspec struct whose fields are structs (one a TOML table) or
annotated values with their ranges. Nothing is guessed: `port = "1883"` is a mistake.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from sprout_link.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

S = TypeVar("S", bound=msgspec.Struct)

MAX_FILE_BYTES: Final = 256 * 1024


def load(path: Path, kind: type[S]) -> S:
    """Read the TOML file at `path` as `kind`. Relative paths in it are left as they are.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or has mistakes (all are listed).
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: over {MAX_FILE_BYTES} bytes, which no settings need")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such settings file") from error
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    return from_values(values, kind, source=str(path))


def from_values(values: dict[str, Any], kind: type[S], *, source: str) -> S:
    """Check parsed TOML against `kind`.

    Raises:
        SettingsError: with one line a mistake, each with file and key.
    """
    mistakes = list(_mistakes(values, kind, prefix=""))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise SettingsError(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in mistakes))
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{source}: {error}") from error


def _mistakes(values: dict[str, Any], kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key in values:
        if key not in fields:
            known = ", ".join(sorted(fields))
            yield f"{prefix}{key}: unknown key; here are known: {known}"
    for name, field in fields.items():
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        if name not in values:
            if required:
                yield f"{prefix}{name}: missing"
            continue
        nested = _struct_of(field.type)
        if nested is not None and isinstance(values[name], dict):
            yield from _mistakes(values[name], nested, f"{prefix}{name}.")
            continue
        try:
            msgspec.convert(values[name], field.type)
        except msgspec.ValidationError as error:
            yield f"{prefix}{name}: {str(error).replace('`', '')}, found {values[name]!r}"


def _struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    is_struct = isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)
    return annotation if is_struct else None
