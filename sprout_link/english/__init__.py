"""Plain English statements: cut, turned to the other person, and asked about, by rules."""
