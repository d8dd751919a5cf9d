"""The bodies in which an error is told: problem+json, and the two that clients of other services expect."""

from typing import Literal

from pydantic import BaseModel, Field


class ProblemDetails(BaseModel):
    """The body of an error answer (RFC 9457, application/problem+json)."""

    type: str = Field(
        description="Stable name of the kind of problem; about:blank if the status says it all."
    )
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What was wrong and what is expected, with the numbers.")
    instance: str = Field(description="The path that was asked for.")
    request_id: str = Field(description="The same as the X-Request-ID header.")
    errors: list[dict[str, str]] | None = Field(
        default=None, description="One object with field and message for each invalid form field."
    )

    @classmethod
    def of(cls, problem: "ProblemDetails") -> "ProblemDetails":
        """The problem itself, so that every body is made in the same way."""
        return problem

    @property
    def name(self) -> str | None:
        """The last part of the type; None if the status says it all."""
        return None if self.type == "about:blank" else self.type.rpartition(":")[2]


class OpenAIError(BaseModel):
    """What is wrong, as clients of OpenAI's API read it."""

    message: str = Field(description="What was wrong and what is expected, with the numbers.")
    type: Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The first invalid form field.")
    code: str | None = Field(description="Stable name of the kind of problem, as in problem+json.")


class OpenAIErrorBody(BaseModel):
    """The body of an error answer under /v1."""

    error: OpenAIError

    @classmethod
    def of(cls, problem: ProblemDetails) -> "OpenAIErrorBody":
        return cls(
            error=OpenAIError(
                message=problem.detail,
                type=_openai_type(problem.status),
                param=problem.errors[0]["field"] if problem.errors else None,
                code=problem.name,
            )
        )


class IOPaintErrorBody(BaseModel):
    """The body of an error answer under /api/v1."""

    error: str = Field(description="Stable name of the kind of problem, or its title.")
    detail: str = Field(description="What was wrong and what is expected, with the numbers.")
    body: str = Field(description="Always empty.")
    errors: str = Field(description="The same as detail.")

    @classmethod
    def of(cls, problem: ProblemDetails) -> "IOPaintErrorBody":
        error = problem.name or problem.title
        return cls(error=error, detail=problem.detail, body="", errors=problem.detail)


def _openai_type(
    status: int,
) -> Literal["invalid_request_error", "authentication_error", "rate_limit_error", "server_error"]:
    if status >= 500:
        return "server_error"
    if status == 401:
        return "authentication_error"
    return "rate_limit_error" if status == 429 else "invalid_request_error"
