"""The device program: talks, remembers, ships memories, and installs what it has proved."""
