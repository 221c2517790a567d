"""What the device and the trainer must agree on: messages, topics, artifacts, transport."""

__version__ = "0.1.0"
