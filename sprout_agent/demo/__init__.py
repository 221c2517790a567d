"""The first command: the whole loop on one machine, from telling to knowing."""
