"""tritonclient over gRPC: the blocking client, and the one for asyncio."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from queue import Queue
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.clients.digits import Task, agree, begin, refused, say, task

NAMES = ("logits", "probabilities")


def given(task: Task, count: int, *, first: int = 0, datatype: str = "UINT8") -> list[Any]:
    """The input tensor with some of the digits."""
    images = task.images[first : first + count]
    if datatype == "FP32":
        images = (images / 255).astype(np.float32)
    tensor = triton.InferInput("image", list(images.shape), datatype)
    tensor.set_data_from_numpy(images)
    return [tensor]


def wanted(*names: str, classes: int = 0) -> list[Any]:
    """Outputs that are asked for."""
    return [triton.InferRequestedOutput(name, class_count=classes) for name in names]


def arrays(answer: Any, *names: str) -> dict[str, Any]:
    """Outputs of an answer."""
    return {name: answer.as_numpy(name) for name in names}


def about(client: Any, task: Task) -> None:
    """Health, metadata, configuration, statistics and the repository."""
    say("live, ready, model ready", client.is_server_live(), client.is_server_ready(), client.is_model_ready("digits"))
    server = client.get_server_metadata()
    say("server", server.name, *server.extensions)
    model = client.get_model_metadata("digits", task.version, as_json=True)
    say("inputs", *[(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in model["inputs"]])
    say("outputs", *[(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in model["outputs"]])
    config = client.get_model_config("digits").config
    say("configuration", config.platform, config.max_batch_size, config.WhichOneof("scheduling_choice"))
    say("configured tensors", *[(t.name, triton.model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in (
        *config.input, *config.output
    )])  # fmt: skip
    say(
        "repository",
        *[(entry.name, entry.version, entry.state) for entry in client.get_model_repository_index().models],
    )
    client.load_model("digits")
    say("loaded anew", client.is_model_ready("digits", task.version))
    for what, call in (
        ("unload", lambda: client.unload_model("digits")),
        ("load with a configuration", lambda: client.load_model("digits", config="{}")),
    ):
        say(what, refused(what, InferenceServerException, call))


def infer(client: Any, task: Task) -> None:
    """Every form of a request."""
    agree("both outputs", task, arrays(client.infer("digits", given(task, 5), outputs=wanted(*NAMES)), *NAMES))
    agree("no outputs named", task, arrays(client.infer("digits", given(task, 256)), *NAMES))
    agree("FP32", task, arrays(client.infer("digits", given(task, 5, datatype="FP32")), *NAMES))
    for algorithm in ("gzip", "deflate"):
        packed = partial(client.infer, "digits", given(task, 64), compression_algorithm=algorithm)
        say(algorithm, refused(algorithm, InferenceServerException, packed))
    names = ("conv1", "probabilities", "fc1_relu")
    agree("feature maps", task, arrays(client.infer("digits", given(task, 3), outputs=wanted(*names)), *names))
    answer = client.infer(
        "digits", given(task, 1), model_version=task.version, request_id="seven", timeout=1_000_000, client_timeout=30
    ).get_response()
    say("version and id", answer.model_name, answer.model_version, answer.id)
    best = client.infer("digits", given(task, 3), outputs=wanted("probabilities", classes=2)).as_numpy("probabilities")
    for row, values in zip(best.tolist(), task.expected["probabilities"][:3], strict=True):
        for entry, index in zip(row, np.argsort(-values)[:2], strict=True):
            value, told, label = entry.decode().split(":")
            assert int(told) == index and label == str(index) and abs(float(value) - values[index]) < 1e-4
    say("classification", *[row[0].decode().partition(":")[2] for row in best.tolist()])


def concurrent(client: Any, task: Task) -> None:
    """Requests at the same time, a stream of requests, and that the statistics count them."""
    before = client.get_inference_statistics("digits").model_stats[0].inference_count
    answers: Queue[tuple[Any, Any]] = Queue()

    def note(result: Any, error: Any) -> None:
        answers.put((result, error))

    for n in range(32):
        client.async_infer("digits", given(task, 4, first=4 * n), note, request_id=str(n))
    found = {}
    for _ in range(32):
        result, error = answers.get(timeout=60)
        assert error is None, error
        found[int(result.get_response().id)] = arrays(result, *NAMES)
    agree("32 at once", task, {name: np.concatenate([found[n][name] for n in range(32)]) for name in NAMES})
    client.start_stream(note)
    for n in range(8):
        client.async_stream_infer("digits", given(task, 4, first=4 * n), request_id=str(n))
    in_order = []
    for n in range(8):
        result, error = answers.get(timeout=60)
        assert error is None and result.get_response().id == str(n), error
        in_order.append(arrays(result, *NAMES))
    client.async_stream_infer("cats", given(task, 1))
    say("refused in the stream", answers.get(timeout=60)[1].message())
    client.stop_stream()
    agree("a stream of 8", task, {name: np.concatenate([one[name] for one in in_order]) for name in NAMES})
    after = client.get_inference_statistics("digits", task.version).model_stats[0].inference_count
    say("counted", after - before, "images")


def wrong(client: Any, task: Task) -> None:
    """What is refused."""
    other = triton.InferInput("picture", [1, 1, 28, 28], "UINT8").set_data_from_numpy(task.images[:1])
    for what, call in {
        "another model": lambda: client.infer("cats", given(task, 1)),
        "another version": lambda: client.infer("digits", given(task, 1), model_version="9"),
        "another input": lambda: client.infer("digits", [other]),
        "another output": lambda: client.infer("digits", given(task, 1), outputs=wanted("conv9")),
        "257 images": lambda: client.infer("digits", given(task, 257)),
        "a microsecond": lambda: client.infer("digits", given(task, 1), timeout=1),
        "what is not here": client.get_log_settings,
    }.items():
        error = refused(what, InferenceServerException, call)
        assert isinstance(error, InferenceServerException)
        say(what, error.status(), error.message())


async def with_asyncio(task: Task) -> None:
    """The client for asyncio."""
    async with triton_aio.InferenceServerClient(task.grpc) as client:
        say("live, ready", await client.is_server_live(), await client.is_server_ready())
        agree("both outputs", task, arrays(await client.infer("digits", given(task, 5)), *NAMES))
        answers = await asyncio.gather(*[client.infer("digits", given(task, 2, first=2 * n)) for n in range(32)])
        found = [arrays(answer, *NAMES) for answer in answers]
        agree("32 at once", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for n in range(8):
                yield {"model_name": "digits", "inputs": given(task, 2, first=2 * n)}

        found = []
        async for result, error in client.stream_infer(requests()):
            assert error is None, error
            found.append(arrays(result, *NAMES))
        agree("a stream of 8", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})


def main() -> None:
    """Asks everything."""
    given_task = task()
    begin("tritonclient", "grpc, blocking")
    with triton.InferenceServerClient(given_task.grpc) as client:
        about(client, given_task)
        infer(client, given_task)
        concurrent(client, given_task)
        wrong(client, given_task)
    begin("tritonclient", "grpc, asyncio")
    asyncio.run(with_asyncio(given_task))


if __name__ == "__main__":
    main()
