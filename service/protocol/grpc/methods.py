"""What each method of the protocol answers: functions of the application's state, a message and its call."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from grpc.aio import ServicerContext
from starlette.concurrency import run_in_threadpool

from service.protocol import changing, description
from service.protocol.changing import LoadParameters, UnloadParameters, control_of, parsed
from service.protocol.grpc import inference_pb2 as pb
from service.protocol.grpc.messages import decode, encode
from service.protocol.inference import execute
from service.state import State

Message = Any  # of google.protobuf, which ships no types
Method = Callable[[State, Message, ServicerContext], Awaitable[Message]]


async def server_live(_state: State, _request: Message, _call: ServicerContext) -> Message:
    """Tells that the server answers."""
    return pb.ServerLiveResponse(live=True)


async def server_ready(state: State, _request: Message, _call: ServicerContext) -> Message:
    """Tells whether predictions are answered."""
    return pb.ServerReadyResponse(ready=state.is_ready())


async def model_ready(state: State, request: Message, _call: ServicerContext) -> Message:
    """Tells whether the model answers predictions."""
    predictor = state.named(request.name, request.version)
    return pb.ModelReadyResponse(ready=state.answers(predictor))


async def server_metadata(_state: State, _request: Message, _call: ServicerContext) -> Message:
    """Tells the server's name, version and extensions."""
    return pb.ServerMetadataResponse(**description.server())


async def model_metadata(state: State, request: Message, _call: ServicerContext) -> Message:
    """Tells the model's inputs and outputs."""
    predictor = state.named(request.name, request.version)
    return pb.ModelMetadataResponse(**description.metadata(predictor.engine.manifest, state))


async def model_config(state: State, request: Message, _call: ServicerContext) -> Message:
    """Tells how the model is batched."""
    predictor = state.named(request.name, request.version)
    return pb.ModelConfigResponse(config=description.configuration(predictor.engine.manifest, state))


async def model_statistics(state: State, request: Message, _call: ServicerContext) -> Message:
    """Tells how often and how long the model was asked, over all worker processes; no name stands for all models."""
    if not request.name:
        return pb.ModelStatisticsResponse(model_stats=description.all_statistics(state))
    predictor = state.named(request.name, request.version)
    return pb.ModelStatisticsResponse(model_stats=[description.statistics(predictor.engine.manifest, state.metrics)])


async def repository_index(state: State, request: Message, _call: ServicerContext) -> Message:
    """Lists the models that are here."""
    return pb.RepositoryIndexResponse(models=description.index(state, ready=request.ready))


async def repository_model_load(state: State, request: Message, _call: ServicerContext) -> Message:
    """Loads a version in all worker processes, where that is not off."""
    control = control_of(state, request.model_name)
    await changing.load(control, state, parsed(_plain(request.parameters), LoadParameters))
    return pb.RepositoryModelLoadResponse()


async def repository_model_unload(state: State, request: Message, _call: ServicerContext) -> Message:
    """Lets go of a version that is served beside the current one, in all worker processes, where that is not off."""
    control = control_of(state, request.model_name)
    await changing.unload(control, state, parsed(_plain(request.parameters), UnloadParameters))
    return pb.RepositoryModelUnloadResponse()


def _plain(parameters: Mapping[str, Message]) -> dict[str, Any]:
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: getattr(parameters[name], kind) if kind else None for name, kind in chosen.items()}


async def model_infer(state: State, request: Message, call: ServicerContext) -> Message:
    """Runs the model on prepared digits, (n, 1, 28, 28), bright ink on black, until the call's own deadline."""
    predictor = state.named(request.model_name, request.model_version)
    manifest = predictor.engine.manifest
    inference = decode(request, manifest, state.settings.max_images)
    remaining = call.time_remaining()
    if remaining is not None:
        timeout = remaining if inference.timeout is None else min(remaining, inference.timeout)
        inference = inference._replace(timeout=timeout)
    # Nobody asks whether the caller is still there: gRPC cancels this task when he goes or his time is over, and with
    # it what waits in the queue. Its own `cancelled()` says no even then.
    values = await execute(inference, predictor)
    if inference.selection.layers:  # thousands of numbers an image
        return await run_in_threadpool(encode, inference, values, manifest)
    return encode(inference, values, manifest)


async def model_stream_infer(state: State, request: Message, call: ServicerContext) -> Message:
    """Runs the model on one request of a stream; each has one answer, which is its last."""
    answer = await model_infer(state, request, call)
    answer.parameters["triton_final_response"].bool_param = True
    return pb.ModelStreamInferResponse(infer_response=answer)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ServerLive": server_live,
        "ServerReady": server_ready,
        "ModelReady": model_ready,
        "ServerMetadata": server_metadata,
        "ModelMetadata": model_metadata,
        "ModelInfer": model_infer,
        "ModelStreamInfer": model_stream_infer,
        "ModelConfig": model_config,
        "ModelStatistics": model_statistics,
        "RepositoryIndex": repository_index,
        "RepositoryModelLoad": repository_model_load,
        "RepositoryModelUnload": repository_model_unload,
    }
)
"""The method of each name."""
