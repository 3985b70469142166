"""`GET /v1/model` and `GET /metrics`: what serves, and how it fares."""

import onnxruntime
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.exposition import exposition
from service.routes.predict import ERRORS
from service.schemas import ModelAnswer, Running
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.get("/v1/model", responses=ERRORS)
async def model(state: SharedState, predictor: SharedPredictor) -> ModelAnswer:
    """Tells the model's manifest and what really runs: provider, threads, version, SHA-256."""
    engine = predictor.engine
    running = Running(
        provider=engine.provider,
        asked=state.settings.provider,
        fallback=engine.fallback,
        graphs=engine.graphs,
        precision=engine.precision,
        threads=engine.threads,
        onnxruntime=onnxruntime.__version__,
        version=engine.manifest.version,
        sha256=engine.manifest.sha256,
    )
    return ModelAnswer(running=running, manifest=engine.manifest)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(state: SharedState) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    state.metrics.ready = state.loaded is not None and state.loaded.engine.healthy
    return Response(exposition(state.metrics), media_type=CONTENT_TYPE_LATEST)
