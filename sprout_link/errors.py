"""Errors of what both sides share.

LinkError
├── MessageError        a payload is too large, malformed or of another version
├── TopicError          a topic or a device name is not well formed
├── SettingsError       a configuration file has mistakes; all of them are listed
├── TransportError      the broker cannot be reached or refused us
├── ModelFileError      a model file is missing, truncated or no GGUF
└── FolderInUseError    another process works in the same data folder
"""


class LinkError(Exception):
    """Base of every error that `sprout_link` raises on purpose."""


class MessageError(LinkError):
    """A payload is too large, malformed or of another version."""


class TopicError(LinkError):
    """A topic or a device name is not well formed."""


class SettingsError(LinkError):
    """A configuration file has mistakes; the message lists all of them."""


class TransportError(LinkError):
    """The broker cannot be reached, or refused the connection."""


class ModelFileError(LinkError):
    """A model file is missing, truncated or not a GGUF file."""


class FolderInUseError(LinkError):
    """Another process works in the same data folder."""
