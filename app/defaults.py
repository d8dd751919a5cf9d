"""Numbers that several parts of the service have in common."""

MAX_GROW_PIXELS = 256
DEFAULT_QUALITY = 95

MOST_BATCH_ITEMS = 500
"""With a mask for each, that is as many files as the parser of forms accepts."""
