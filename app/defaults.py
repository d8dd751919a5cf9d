"""Numbers that the forms of HTTP and the command line have in common."""

MAX_GROW_PIXELS = 256
DEFAULT_QUALITY = 95
