"""Errors of the device program.

AgentError
├── InferenceError        the runtime cannot load or run something
│   └── ContextFullError  the conversation does not fit the model's context
├── MemoryStoreError      the database cannot take or give something
├── TurnError             a turn that cannot be answered: empty, or too long
├── UpdateError           an artifact cannot be fetched, verified or installed
│   ├── TrustError        what came is not what the trust repository signed
│   ├── DiskError         there is no room, or the disk refused a write
│   └── UpdateStoppedError  the program is stopping; nothing was changed
└── ControlError          the running agent cannot be reached, or refused a request
"""


class AgentError(Exception):
    """Base of every error that `sprout_agent` raises on purpose."""


class InferenceError(AgentError):
    """The runtime cannot load or run something."""


class ContextFullError(InferenceError):
    """The conversation does not fit the model's context."""


class MemoryStoreError(AgentError):
    """The database cannot take or give something."""


class TurnError(AgentError):
    """A turn that cannot be answered: empty, or too long."""


class UpdateError(AgentError):
    """An artifact cannot be fetched, verified or installed."""


class TrustError(UpdateError):
    """What came is not what the trust repository signed."""


class DiskError(UpdateError):
    """There is no room, or the disk refused a write."""


class UpdateStoppedError(UpdateError):
    """The program is stopping in the middle of an update; what was in use still is."""


class ControlError(AgentError):
    """The running agent cannot be reached, or refused a request."""
