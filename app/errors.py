"""Everything that the service itself raises on purpose; app/problems.py gives each its HTTP status.

    AppError
    ├── PictureError                 an uploaded file that is not usable as a picture
    │   ├── EmptyFileError           it holds no bytes
    │   ├── UnsupportedTypeError     its content is none of the accepted types
    │   ├── DamagedPictureError      it begins like a picture, but cannot be decoded
    │   ├── PictureTooLargeError     its header announces more pixels than allowed
    │   └── SlowPictureError         it is made to take long to decode
    ├── MissingMaskError             neither a mask nor a transparent region says what to fill
    ├── UnsupportedSizeError         the answer is wanted in another size than the image's
    ├── UnauthorizedError            no valid API key
    ├── RateLimitedError             one client asks more often than allowed
    ├── RefusedBodyError             a body that is not read on
    │   ├── RequestTooLargeError     it holds more bytes than allowed
    │   └── HeldBytesError           all requests together hold more bytes than allowed
    ├── SlowUploadError              the body did not arrive in time
    ├── UnsupportedMediaTypeError    the body is not of the type that the path takes
    ├── BadJsonError                 the body is not the JSON that is expected
    ├── QueueFullError               too many requests are waiting
    ├── RequestTimeoutError          the answer was not ready in time
    ├── NotReadyError                no model is loaded
    └── DrainingError                the service is about to stop

Each carries one sentence for the client, with the numbers; none quotes another library's exception.
"""

from starlette.exceptions import HTTPException


class AppError(Exception):
    """Base of every error that the service raises on purpose."""


class PictureError(AppError):
    """An uploaded file is not usable as a picture."""


class EmptyFileError(PictureError):
    """An uploaded file holds no bytes."""


class UnsupportedTypeError(PictureError):
    """An uploaded file's content is none of the accepted picture types."""


class DamagedPictureError(PictureError):
    """An uploaded file begins like a picture, but cannot be decoded."""


class PictureTooLargeError(PictureError):
    """A picture's header announces more pixels than allowed."""


class SlowPictureError(PictureError):
    """A picture takes longer to decode than allowed."""


class MissingMaskError(AppError):
    """Neither a mask nor a transparent region says what to fill."""


class UnsupportedSizeError(AppError):
    """The answer is wanted in another size than the image's."""


class UnauthorizedError(AppError):
    """The request carries no valid API key."""


class RateLimitedError(AppError):
    """One client asks more often than allowed."""

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.headers = {"Retry-After": str(retry_after_seconds)}


class RefusedBodyError(AppError, HTTPException):
    """A body that is not read on.

    An HTTPException too, because FastAPI turns anything else that is raised while it reads a form into a 400.
    """

    def __init__(self, detail: str) -> None:
        HTTPException.__init__(self, status_code=400, detail=detail)

    def __str__(self) -> str:
        return self.detail


class RequestTooLargeError(RefusedBodyError):
    """The body holds more bytes than allowed."""


class HeldBytesError(RefusedBodyError):
    """All requests and answers together hold more bytes than allowed."""


class SlowUploadError(AppError):
    """The body did not arrive in time."""


class UnsupportedMediaTypeError(AppError):
    """The body is not of the type that the path takes."""


class BadJsonError(AppError):
    """The body is not the JSON that is expected."""


class QueueFullError(AppError):
    """Too many requests are waiting."""


class RequestTimeoutError(AppError):
    """The answer was not ready in time."""


class NotReadyError(AppError):
    """No model is loaded."""


class DrainingError(AppError):
    """The service is about to stop."""
