"""Engines that fail, asked until they answer again."""

import asyncio

import structlog

from service.predictor import Predictor
from service.state import State

_PAUSE = 1.0  # seconds between two tries
_log = structlog.get_logger("digitscope")


async def mend(state: State) -> None:
    """Looks after the engines that serve, for ever.

    One that failed is not ready, and is asked its golden inputs again. If that does not help it is opened anew, since
    what a session has lost may be had by another one. Both changes of its state are said in the log.
    """
    failing: set[Predictor] = set()
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            await _look(state, failing)  # which holds on to no version while this sleeps
        except Exception as error:  # whatever it is, the next look may fare better
            _log.error("an engine could not be mended", exc_info=error)


async def _look(state: State, failing: set[Predictor]) -> None:
    served = set(state.served.versions.values()) if state.served else set()
    failing &= served  # what was let go meanwhile is nobody's concern
    for predictor in served:
        engine = predictor.engine
        version = engine.manifest.version
        if not engine.healthy and predictor not in failing:
            failing.add(predictor)
            _log.error("engine failed and is not ready", version=version)
        if predictor in failing and (await predictor.recover() or await predictor.reopen()):
            failing.discard(predictor)
            _log.warning("engine answers again", version=version, provider=engine.provider, fallback=engine.fallback)
