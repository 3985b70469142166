"""The whole request: bytes → image → batcher → engine → answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import cached_property, partial
from itertools import groupby

from service.answer import to_json
from service.background import Result
from service.batcher import Batcher, Pieces, Receiver
from service.caller import CALLER
from service.engine import Activations, Engine
from service.errors import OverloadedError
from service.image import (
    PIXELS,
    SMALL,
    Found,
    Pixels,
    Preprocess,
    Seen,
    as_images,
    find_digits,
    open_picture,
    read_picture,
    seen_by_network,
)
from service.inside.probe import Probe
from service.inside.similarity import Similarity
from service.lanes import SIZES
from service.load import load_of
from service.metrics import Counts, Metrics
from service.prediction import Prediction, Run, joined
from service.rejection import Gates, Reasons
from service.runtime import CPU
from service.settings import Settings
from service.trail import TRAIL, Trail, staged
from service.workshop import Workshop

# Images. ONNX Runtime is as fast with 32. But it has the CPU's caches for itself, and what comes behind costs twice as
# much: with 64 that is half as often; of pixels, of PNG and by int8 1.02, 1.06 and 1.09 times as many were answered.
_CPU_BATCH = 64
# A small picture is read in a tenth of a millisecond, and handing it to a thread would take as long.
SMALL_FILE = 4096  # bytes

_Asked = tuple[Pixels | memoryview, Reasons, bool]
"""Digits of one request, what was found when their pictures were read, and whether they are a piece of it."""


class Predictor:
    """An open engine with its queue. Digits go in as `Pixels`: 784 bytes each, bright ink on black.

    Attributes:
        model_name: the model that answers, as every answer under /v1 has it; `model_json` is the same in JSON.
        similarity: the training digits that are near to a digit or excite a channel; read when first asked for.
        counts: how often its version is asked.
        spending: the time that goes into reading what has come, on the event loop.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        metrics: Metrics,
        executor: Executor | None = None,
        workshop: Workshop | None = None,
    ) -> None:
        """`executor` is the one thread that a GPU's engine was opened in, which all its runs are made in.

        `workshop` is whose threads are shared with other versions, if there are any.
        """
        self.engine = engine
        self.model_name = {"name": engine.manifest.name, "version": engine.manifest.version}
        self.model_json = to_json(self.model_name)
        self.similarity = Similarity(engine, settings.models / engine.manifest.name / engine.manifest.version)
        self._facts: dict[str, str | int] = {
            "digitscope.model": engine.manifest.name,
            "digitscope.model.version": engine.manifest.version,
            "digitscope.provider": engine.provider,
            "digitscope.precision": engine.precision,
        }
        self._executor = executor
        self._max_pixels = settings.max_pixels
        max_batch = settings.max_batch or (_CPU_BATCH if engine.provider == CPU else SIZES[-1])
        counts = self.counts = metrics.seat(engine.manifest.version)
        gates = Gates(engine.manifest)
        # Nothing here leads back to the predictor. So the last request of a version that is let go takes all of it
        # along, and no cycle keeps a model until somebody looks for garbage.
        self._batcher: Batcher[_Asked, Prediction] = Batcher(
            partial(_run, engine, gates, metrics, counts),
            max_batch=max_batch,
            max_waiting=settings.max_waiting,
            max_wait=settings.max_wait / 1e3,
            max_delay=settings.max_queue_delay / 1e6,
            pieces=Pieces(_cut, partial(_joined, gates, metrics, counts)),
            waited=lambda seconds: metrics.waited(seconds, counts),
            # On the CPU the event loop itself runs the engine: with a thread for it, one CPU answered a fifth fewer.
            executor=None if engine.provider == CPU else executor,
        )
        workshop = workshop or Workshop(settings.max_wait / 1e3)
        self.spending = workshop.spending
        self._reading = workshop.reading
        self._background = workshop.looking

    def read_small(self, data: bytes, preprocess: Preprocess) -> Seen | None:
        """What `read` returns, of a picture that is read at once; None of a larger one.

        Raises:
            RequestError: as `read`.
        """
        if len(data) <= SMALL_FILE:
            picture = open_picture(data, self._max_pixels)
            if picture.width * picture.height <= SMALL and picture.format != "TIFF":  # whose tiles may be large
                return seen_by_network(picture, preprocess)
        return None

    def check_pictures(self) -> None:
        """Sees whether pictures of the present caller would be read in time, before they are received.

        Raises:
            OverloadedError: too many wait already.
        """
        self._reading.check()
        if self.spending.refuses(CALLER.get()):
            raise self.spending.refusal

    def check_looking(self) -> None:
        """Sees whether a look inside for the present caller would be had in time, before its picture is received.

        Raises:
            OverloadedError: too many wait already.
        """
        self._background.check()

    def place_to_read(self, pictures: Sequence[bytes]) -> AbstractContextManager[None]:
        """A place for the bytes of pictures of the present caller, which `read_large` reads meanwhile.

        Raises:
            OverloadedError: too many wait already.
        """
        return self._reading.place([load_of(data, "read") for data in pictures])

    def place_to_find(self, pictures: Sequence[bytes]) -> AbstractContextManager[None]:
        """The same for `find`.

        Raises:
            OverloadedError: too many wait already.
        """
        return self._reading.place([load_of(data, "find") for data in pictures])

    async def read(self, data: bytes, preprocess: Preprocess, gone: Callable[[], bool] | None = None) -> Seen:
        """What the network sees of a picture's bytes; `gone` as `Batcher.submit` has it.

        Raises:
            RequestError: it is no picture that can be read; see `service.image`.
            OverloadedError: it is a large one, and too many wait already.
            GoneError: nobody waits for it.
        """
        if len(data) <= SMALL_FILE and (small := await self.read_in_turn(data, preprocess)) is not None:
            return small
        with self.place_to_read([data]):
            return await self.read_large(data, preprocess, gone)

    @staged("read")
    async def read_in_turn(self, data: bytes, preprocess: Preprocess) -> Seen | None:
        """What `read_small` returns, when the caller has time for it in a turn of the event loop.

        Raises:
            RequestError: as `read`.
        """
        caller = CALLER.get()
        while self.spending.is_enough(caller):
            await asyncio.sleep(0)
        started = time.perf_counter()
        try:
            return self.read_small(data, preprocess)
        finally:
            self.spending.spent(caller, time.perf_counter() - started)

    @staged("read")
    async def read_large(self, data: bytes, preprocess: Preprocess, gone: Callable[[], bool] | None = None) -> Seen:
        """What `read` returns, of a picture that has a place.

        Raises:
            RequestError: as `read`.
            OverloadedError: it has waited for far longer than it was to wait.
            GoneError: nobody waits for it.
        """
        load = load_of(data, "read")
        return await self._reading.turn(lambda: read_picture(data, preprocess, self._max_pixels), load, gone=gone)

    @staged("read")
    async def find(self, data: bytes, gone: Callable[[], bool] | None = None) -> list[Found]:
        """The digits in a picture that has a place, left to right and top to bottom; `gone` as `Batcher.submit` has it.

        Raises:
            RequestError: it is no picture that can be read; see `service.image`.
            GoneError: nobody waits for them.
        """
        load = load_of(data, "find")
        return await self._reading.turn(lambda: find_digits(data, self._max_pixels), load, gone=gone)

    def refusal(self, images: int, caller: str | None) -> OverloadedError | None:
        """Why so many digits of a caller would be refused now; None if they would not."""
        return self._batcher.refusal(images, caller)

    def refusal_of_picture(self, length: int, caller: str | None) -> OverloadedError | None:
        """Why a picture of so many bytes would be refused now; None if it would not, as far as can be told unread."""
        if self.spending.refuses(caller):
            return self.spending.refusal
        return self._reading.refusal(caller) if length > SMALL_FILE else None

    async def predict(
        self,
        pixels: Pixels,
        *,
        reasons: Reasons = (),
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Prediction:
        """The answers to digits; `deadline` on the monotonic clock, `gone` as `Batcher.submit` has them.

        `reasons` are those to reject them that were found when their pictures were read.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: the deadline passed.
            GoneError: nobody waits for the answer.
            EngineError: the engine failed.
        """
        started = time.perf_counter()
        stage = "fail"
        try:
            size = len(pixels) // PIXELS
            prediction = await self._batcher.submit(
                (pixels, reasons, False), size, deadline=deadline, gone=gone, caller=CALLER.get()
            )
            stage = "success"
            if (trail := TRAIL.get()) is not None:
                self.tell(trail, prediction, started)
            return prediction
        finally:
            self.counts.passed(stage, 1, time.perf_counter() - started)

    def begin(
        self,
        pixels: Pixels,
        receiver: Receiver[Prediction],
        *,
        reasons: Reasons = (),
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
        caller: str | None = None,
    ) -> None:
        """Has digits of a caller answered to a receiver: with what `predict` would return, or raise later on.

        Whoever begins counts whether they were answered, as `predict` does.

        Raises:
            OverloadedError: too many wait already.
        """
        size = len(pixels) // PIXELS
        self._batcher.put((pixels, reasons, False), size, receiver, deadline=deadline, gone=gone, caller=caller)

    def tell(self, trail: Trail, prediction: Prediction, asked: float) -> None:
        """Tells of a prediction, asked for at `asked` on the clock of `time.perf_counter`, that its answer is made."""
        run = prediction.run
        trail.stage("queue", asked, run.began)
        facts = {"digitscope.images": len(prediction), "digitscope.batch.images": len(run.digits)}
        trail.stage("run", run.began, run.ended, self._facts | facts | {"digitscope.batch.requests": run.requests})
        trail.answering = time.perf_counter()

    async def inspect(
        self,
        pixels: Pixels,
        names: Sequence[str],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> dict[str, Activations]:
        """The named layers or outputs, each float32 (n, *shape of the layer); `deadline` and `gone` as `predict`'s.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the answer.
            EngineError: the engine failed.
        """
        return await self.look(lambda: self.engine.inspect(as_images(pixels), names), deadline=deadline, gone=gone)

    @staged("look", last=True)
    async def look(
        self,
        work: Callable[[], Result],
        *,
        deadline: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Result:
        """The result of work that looks inside, done in a thread when its turn comes; else as `inspect` has it.

        Raises:
            OverloadedError: too many wait already.
            DeadlineError: the deadline passed before its turn.
            GoneError: nobody waits for the answer.
            Exception: what the work raises.
        """
        return await self._background.run(work, deadline=deadline, gone=gone)

    @cached_property
    def probe(self) -> Probe:
        """What asks the network about itself; for work that `look` does, one thing at a time."""
        return Probe(self.engine)

    async def recover(self) -> bool:
        """Asks the engine its golden inputs again; whether it answers then."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.engine.recover)

    async def reopen(self) -> bool:
        """Opens the engine anew; whether it answers then."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.engine.reopen)


def _run(engine: Engine, gates: Gates, metrics: Metrics, counts: Counts, parts: list[_Asked]) -> list[Prediction]:
    """The answers to what shares a batch.

    The images of a piece that has a batch to itself are looked at when all pieces are joined: once for 256 instead of
    four times, which took a fifth off what they cost beside the engine. Where they are not joined, as the caller has
    gone or the time is over, it is counted that they ran, and not what they were read as.
    """
    started = time.perf_counter()
    images = as_images(parts[0][0] if len(parts) == 1 else b"".join([pixels for pixels, _, _ in parts]))
    ready = time.perf_counter()
    run = Run(*engine.predict(images))
    answered = time.perf_counter()
    run.requests, run.began, run.ended = len(parts), started, answered
    _, _, is_piece = parts[0]
    if is_piece and len(parts) == 1:
        run.unseen = True
        counts.ran(1, len(images), (ready - started, answered - ready, 0.0))
        return [Prediction(run, 0, len(images))]
    run.reasons = gates.reasons(images, run.logits, run.largest, run.confidences, _noted(parts))
    predictions = []
    start = 0
    for pixels, _, _ in parts:
        stop = start + len(pixels) // PIXELS
        predictions.append(Prediction(run, start, stop))
        start = stop
    run.ended = ended = time.perf_counter()
    seconds = ready - started, answered - ready, ended - answered
    metrics.ran(len(parts), run.digits, seconds, run.reasons, counts, run.confidences)
    return predictions


def _cut(asked: _Asked, start: int, stop: int) -> _Asked:
    pixels, reasons, _ = asked
    return memoryview(pixels)[start * PIXELS : stop * PIXELS], reasons[start:stop], True  # no copy, which would be kept


def _joined(gates: Gates, metrics: Metrics, counts: Counts, asked: _Asked, parts: list[Prediction]) -> Prediction:
    """The answers to the pieces of one request, as one, and why its images are rejected."""
    started = time.perf_counter()
    run = joined(parts)
    run.reasons = gates.reasons(as_images(asked[0]), run.logits, run.largest, run.confidences, _noted([asked]))
    start = 0
    for unseen, group in groupby(parts, lambda part: part.run.unseen):  # those that shared a batch are counted with it
        stop = start + sum(map(len, group))
        if unseen:
            metrics.found(run.digits[start:stop], run.reasons[start:stop], run.confidences[start:stop])
        start = stop
    run.ended = time.perf_counter()
    counts.joined(len(parts[0]), run.ended - started)
    return Prediction(run, 0, len(run.logits))


def _noted(parts: list[_Asked]) -> Reasons:
    if not [reasons for _, reasons, _ in parts if reasons]:
        return ()
    return [reason for pixels, reasons, _ in parts for reason in reasons or [None] * (len(pixels) // PIXELS)]
