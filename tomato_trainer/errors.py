"""Errors of the trainer program.

TrainerError
├── StoreError      the ledger cannot take or give something
│   └── ConflictError   a batch contradicts the ledger, and never will be taken
├── JobError        a training job cannot be done; the message says why
└── PublishError    the trust repository cannot be made, opened or signed
"""


class TrainerError(Exception):
    """Base of every error that `tomato_trainer` raises on purpose."""


class StoreError(TrainerError):
    """The ledger cannot take or give something."""


class ConflictError(StoreError):
    """A batch contradicts what the ledger holds; it never will be taken."""


class JobError(TrainerError):
    """A training job cannot be done; the message says why in one sentence."""


class PublishError(TrainerError):
    """The trust repository cannot be made, opened or signed."""
