"""Structured logs: one event a line, JSON or text, with the id of the request it belongs to."""

import logging
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from service import errors
from service.journal import TICKET
from service.settings import Settings


def _one_sentence(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Says an error of ours that ended the start in its own sentence, where Starlette hands on a whole traceback."""
    event.pop("color_message", None)  # uvicorn's own second wording
    last = str(event["event"]).rstrip().rpartition("\n")[2]
    name, _separator, sentence = last.partition(": ")
    if name.removeprefix(f"{errors.__name__}.") in vars(errors):
        event["event"] = sentence
    return event


def with_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Adds the ids of the request that is being answered: its own, and those of its trace if it has one."""
    ticket = TICKET.get(None)
    if ticket is not None:
        for name, value in ticket.ids().items():
            event.setdefault(name, value)
    return event


def configure_logs(settings: Settings) -> None:
    """Sends the logs of the service and of its libraries through one formatter to standard error."""
    shared: list[Processor] = [
        with_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _one_sentence,
    ]
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    ending: list[Processor] = (
        # Not Rich's traceback, which structlog takes where it is installed: it takes seconds, and shows every variable.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending], foreign_pre_chain=shared
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn.access").disabled = True  # ours has the request id; see service.journal
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it has a line for each odd byte that is sent
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it writes metadata that is no UTF-8, a key as well
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
