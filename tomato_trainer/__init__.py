"""The trainer program: turns memories into signed artifacts."""
