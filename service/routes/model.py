"""`GET /v1/model`, `GET /v1/model/layers` and `GET /metrics`: what serves, of what it is made, and how it fares."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.exposition import exposition
from service.inside.receptive import receptive_fields
from service.routes.predict import ERRORS
from service.runtime import ort
from service.schemas.common import ModelName
from service.schemas.model import LayerFacts, LayersAnswer, ModelAnswer, Running
from service.state import SharedPredictor, SharedState

router = APIRouter(tags=["digitscope"])


@router.get("/v1/model", summary="Tells which model serves, and on what", responses=ERRORS)
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
        onnxruntime=ort.__version__,
        version=engine.manifest.version,
        sha256=engine.manifest.sha256,
    )
    return ModelAnswer(running=running, manifest=engine.manifest)


@router.get("/v1/model/layers", summary="Tells what each layer is and costs", responses=ERRORS)
async def layers(predictor: SharedPredictor) -> LayersAnswer:
    """Tells each layer's operator, kernel, output size and its formula, cost and receptive field.

    BatchNorm is folded into the convolutions, so `conv1` and `conv2` mean both, and their parameters are those of both.
    """
    manifest = predictor.engine.manifest
    facts = []
    before = manifest.input.shape[-1]
    for layer, field in zip(manifest.layers, receptive_fields(manifest.layers), strict=True):
        facts.append(LayerFacts(**layer.model_dump(), formula=layer.size_formula(before), receptive_field=field))
        before = layer.shape[-1]
    return LayersAnswer(
        model=ModelName(name=manifest.name, version=manifest.version),
        layers=facts,
        parameters=sum(layer.parameters for layer in manifest.layers),
        multiply_adds=sum(layer.multiply_adds for layer in manifest.layers),
    )


@router.get(
    "/metrics",
    summary="Tells everything that is counted",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(state: SharedState) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    state.metrics.ready = state.loaded is not None and state.loaded.engine.healthy
    return Response(exposition(state.metrics), media_type=CONTENT_TYPE_LATEST)
