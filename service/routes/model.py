"""`GET /v1/model` with its layers and card, and `GET /metrics`: what serves, of what it is made, and how it fares."""

from typing import Annotated

from fastapi import APIRouter, Path
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import FileResponse, Response

from service.errors import UnknownError
from service.exposition import exposition
from service.inside.receptive import receptive_fields
from service.predictor import Predictor
from service.routes.predict import ERRORS
from service.runtime import ort
from service.schemas.common import ModelName
from service.schemas.model import LayerFacts, LayersAnswer, ModelAnswer, Running
from service.state import SharedPredictor, SharedState, State

CARD_FILE = "README.md"

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
        runtime=engine.runtime,
        threads=engine.threads,
        onnxruntime=ort.__version__,
        openvino=engine.openvino,
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
    "/v1/model/card",
    summary="Shows the model card",
    response_class=FileResponse,
    responses=ERRORS | {200: {"content": {"text/markdown": {}}, "description": "The card"}},
)
async def card(state: SharedState, predictor: SharedPredictor) -> Response:
    """Shows the model card: how the model was made, how well it reads, what it cannot, in Markdown.

    Its pictures are beside it, at `/v1/model/card/<name>.png`.
    """
    return _beside(state, predictor, CARD_FILE, "text/markdown; charset=utf-8")


@router.get("/v1/model/card/{picture}.png", response_class=FileResponse, include_in_schema=False)
async def card_picture(
    state: SharedState, predictor: SharedPredictor, picture: Annotated[str, Path(pattern="^[a-z_]+$")]
) -> Response:
    """Shows a picture of the model card."""
    return _beside(state, predictor, f"{picture}.png", "image/png")


def _beside(state: State, predictor: Predictor, name: str, media_type: str) -> Response:
    """A file in the folder of the version that serves."""
    manifest = predictor.engine.manifest
    path = state.settings.models / manifest.name / manifest.version / name
    if not path.is_file():
        raise UnknownError(f"version {manifest.version} of {manifest.name} has no {name}")
    return FileResponse(path, media_type=media_type)


@router.get(
    "/metrics",
    summary="Tells everything that is counted",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(state: SharedState) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    state.metrics.ready = not state.ending.announced and state.loaded is not None and state.loaded.engine.healthy
    return Response(exposition(state.metrics), media_type=CONTENT_TYPE_LATEST)
