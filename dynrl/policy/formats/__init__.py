"""Other policy formats, to and from the native bundle."""
