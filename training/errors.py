"""Everything that training raises on purpose.

    TrainingError
    ├── OptionError   an option or configuration file that holds a value nobody can train with
    ├── DataError     a folder or pictures that cannot be trained or measured on
    ├── StateError    a training state that is missing, damaged, or of another generator
    └── DivergedError losses that stopped being finite

Each carries one sentence that says what was wrong, what was expected, and the numbers.
"""


class TrainingError(Exception):
    """Base of every error that training raises on purpose."""


class OptionError(TrainingError):
    """An option or a configuration file holds a value that cannot be used."""


class DataError(TrainingError):
    """Pictures or masks are missing or cannot be used."""


class StateError(TrainingError):
    """A training state cannot be loaded."""


class DivergedError(TrainingError):
    """The losses are no longer finite numbers."""
