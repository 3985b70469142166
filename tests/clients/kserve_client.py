"""kserve's inference clients, over HTTP and over gRPC."""

import asyncio
import logging
import os
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.clients.digits import Task, agree, begin, say, task

NAMES = ("logits", "probabilities")


def asking(task: Task, count: int, *, binary: bool = True, first: int = 0, model: str = "digits", **more: Any) -> Any:
    """A request for the outputs of some of the digits."""
    images = task.images[first : first + count]
    tensor = InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return InferRequest(model, [tensor], request_id="an id", **more)


def arrays(answer: Any, *names: str) -> dict[str, Any]:
    """Outputs of an answer."""
    assert (answer.model_name, answer.id) == ("digits", "an id")
    assert answer.model_version in {os.environ["VERSION"], None}  # over HTTP the client drops it
    found = {output.name: output.as_numpy().astype(np.float32) for output in answer.outputs}
    assert tuple(found) == names
    return found


async def over_http(task: Task) -> None:
    """The REST client with protocol v2."""
    url = f"http://{task.http}"
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    live, ready = await client.is_server_live(url), await client.is_server_ready(url)
    say("live, ready, model ready", live, ready, await client.is_model_ready(url, "digits"))
    say("cats ready", await client.is_model_ready(url, "cats"))
    for binary in (True, False):
        answer = await client.infer(url, asking(task, 5, binary=binary), model_name="digits")
        agree("binary there" if binary else "JSON there", task, arrays(answer, *NAMES))
    for binary in (True, False):
        outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("probabilities", "conv1")]
        answer = await client.infer(url, asking(task, 3, request_outputs=outputs), model_name="digits")
        told = "binary back" if binary else "JSON back"
        agree(told, task, arrays(answer, "probabilities", "conv1"))
    answers = [client.infer(url, asking(task, 2, first=2 * n), model_name="digits") for n in range(16)]
    found = [arrays(answer, *NAMES) for answer in await asyncio.gather(*answers)]
    agree("16 at once", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})
    try:
        await client.infer(url, asking(task, 1, model="cats"), model_name="cats")
    except httpx.HTTPStatusError as error:
        say("another model", error.response.status_code, error.response.json())
    else:
        raise AssertionError("another model was not refused")
    await client.close()


async def over_grpc(task: Task) -> None:
    """The gRPC client."""
    async with InferenceGRPCClient(task.grpc) as client:
        live, ready = await client.is_server_live(), await client.is_server_ready()
        say("live, ready, model ready", live, ready, await client.is_model_ready("digits"))
        for binary in (True, False):
            answer = await client.infer(asking(task, 5, binary=binary))
            agree("raw contents" if binary else "typed contents", task, arrays(answer, *NAMES))
        answers = [client.infer(asking(task, 2, first=2 * n)) for n in range(16)]
        found = [arrays(answer, *NAMES) for answer in await asyncio.gather(*answers)]
        agree("16 at once", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})
        try:
            await client.infer(asking(task, 1, model="cats"))
        except grpc.RpcError as error:
            say("another model", error.code().name, error.details())
        else:
            raise AssertionError("another model was not refused")


def main() -> None:
    """Asks everything."""
    logging.disable()  # the client logs the traceback of what it raises
    given = task()
    begin("kserve", "REST")
    asyncio.run(over_http(given))
    begin("kserve", "gRPC")
    asyncio.run(over_grpc(given))


if __name__ == "__main__":
    main()
