"""Resend's error answers: `{"statusCode", "name", "message"}`."""

from starlette.responses import Response

from sandbox.http import reply


class ResendError(Exception):
    """A refusal, with the status and name that Resend gives it."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status, self.name, self.message = status, name, message

    def response(self) -> Response:
        body = {"statusCode": self.status, "name": self.name, "message": self.message}
        return reply(body, self.status)


def invalid(message: str) -> ResendError:
    return ResendError(422, "validation_error", message)


def missing(field: str) -> ResendError:
    return ResendError(422, "missing_required_field", f"Missing `{field}` field.")


def not_in_sandbox(what: str) -> ResendError:
    return ResendError(501, "not_in_the_sandbox", f"not in the sandbox: {what}")
