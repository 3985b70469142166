"""The gRPC status of each error."""

import grpc

from service import errors
from service.errors import DigitscopeError

CODES: dict[type[DigitscopeError], grpc.StatusCode] = {
    errors.MalformedError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnknownError: grpc.StatusCode.NOT_FOUND,
    # As Triton has it. RESOURCE_EXHAUSTED would invite another try, which would fare no better.
    errors.TooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotAPictureError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.LimitedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.VersionError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.GoneError: grpc.StatusCode.CANCELLED,
    errors.EngineError: grpc.StatusCode.INTERNAL,
    errors.OverloadedError: grpc.StatusCode.UNAVAILABLE,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.ModelError: grpc.StatusCode.UNAVAILABLE,
    errors.ProviderError: grpc.StatusCode.UNAVAILABLE,
    errors.AddressError: grpc.StatusCode.UNAVAILABLE,
    errors.TelemetryError: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""The code of each error, as `service.refusal` has the HTTP status of each."""
