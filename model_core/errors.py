"""Everything that model_core raises on purpose.

    ModelCoreError
    ├── ConfigError            a generator configuration that cannot be built
    ├── CheckpointError        a checkpoint file that is missing, damaged or of another format
    ├── DeviceError            a device or precision that this machine does not offer
    ├── InferenceError         the generator computed values that are not finite
    ├── OutOfMemoryError       the machine or its accelerator has too little free memory
    └── InputError             an image and mask that cannot be inpainted
        ├── SizeMismatchError  image and mask differ in size
        ├── NothingKnownError  the mask covers every pixel, so there is nothing to fill from
        └── PictureModeError   a picture mode that has no defined conversion

Each carries one sentence that says what was wrong, what was expected, and the numbers.
"""


class ModelCoreError(Exception):
    """Base of every error that model_core raises on purpose."""


class ConfigError(ModelCoreError):
    """A generator configuration holds a value that cannot be built."""


class CheckpointError(ModelCoreError):
    """A checkpoint file is missing, damaged, or of another format."""


class DeviceError(ModelCoreError):
    """The requested device or precision is not available on this machine."""


class InferenceError(ModelCoreError):
    """The generator computed values that are not finite."""


class OutOfMemoryError(ModelCoreError):
    """The machine or its accelerator has too little free memory."""


class InputError(ModelCoreError):
    """An image and mask cannot be inpainted as they are."""


class SizeMismatchError(InputError):
    """Image and mask differ in size."""


class NothingKnownError(InputError):
    """The mask covers every pixel of the image."""


class PictureModeError(InputError):
    """A picture mode has no defined conversion to RGB and back."""
