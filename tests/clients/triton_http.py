"""tritonclient over HTTP: the blocking client, and the one for asyncio."""

import asyncio
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.clients.digits import Task, agree, begin, refused, say, task

NAMES = ("logits", "probabilities")


def given(task: Task, count: int, *, first: int = 0, binary: bool = True, datatype: str = "UINT8") -> list[Any]:
    """The input tensor with some of the digits."""
    images = task.images[first : first + count]
    if datatype == "FP32":
        images = (images / 255).astype(np.float32)
    tensor = triton.InferInput("image", list(images.shape), datatype)
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


def wanted(*names: str, binary: bool = True, classes: int = 0) -> list[Any]:
    """Outputs that are asked for."""
    return [triton.InferRequestedOutput(name, binary_data=binary, class_count=classes) for name in names]


def arrays(answer: Any, *names: str) -> dict[str, Any]:
    """Outputs of an answer."""
    return {name: answer.as_numpy(name) for name in names}


def about(client: Any, task: Task) -> None:
    """Health, metadata, configuration, statistics and the repository."""
    say("live, ready, model ready", client.is_server_live(), client.is_server_ready(), client.is_model_ready("digits"))
    say(f"version {task.version} ready, version 9 ready, cats ready", *[
        client.is_model_ready(name, version)
        for name, version in (("digits", task.version), ("digits", "9"), ("cats", ""))
    ])  # fmt: skip
    server = client.get_server_metadata()
    say("server", server["name"], *server["extensions"])
    model = client.get_model_metadata("digits", task.version)
    say("inputs", *[(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in model["inputs"]])
    say("outputs", *[(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in model["outputs"]])
    config = client.get_model_config("digits")
    say("configuration", config["platform"], config["max_batch_size"], config["input"], "dynamic_batching" in config)
    say("repository", client.get_model_repository_index())
    client.load_model("digits")
    say("loaded anew", client.is_model_ready("digits", task.version))
    for what, call in (
        ("unload", lambda: client.unload_model("digits")),
        ("load with a configuration", lambda: client.load_model("digits", config="{}")),
    ):
        say(what, refused(what, InferenceServerException, call))


def infer(client: Any, task: Task) -> None:
    """Every form of a request."""
    agree("binary", task, arrays(client.infer("digits", given(task, 5), outputs=wanted(*NAMES)), *NAMES))
    answer = client.infer("digits", given(task, 5, binary=False), outputs=wanted(*NAMES, binary=False))
    agree("JSON", task, arrays(answer, *NAMES))
    agree("no outputs named", task, arrays(client.infer("digits", given(task, 256)), *NAMES))
    agree("FP32, binary", task, arrays(client.infer("digits", given(task, 5, datatype="FP32")), *NAMES))
    answer = client.infer("digits", given(task, 5, datatype="FP32", binary=False))
    agree("FP32, JSON", task, arrays(answer, *NAMES))
    for there, back in (("gzip", "deflate"), ("deflate", "gzip")):
        answer = client.infer(
            "digits", given(task, 64), request_compression_algorithm=there, response_compression_algorithm=back
        )
        agree(f"{there} there, {back} back", task, arrays(answer, *NAMES))
    names = ("conv1", "probabilities", "fc1_relu")
    answer = client.infer("digits", given(task, 3), outputs=wanted(*names))
    agree("feature maps", task, arrays(answer, *names))
    answer = client.infer("digits", given(task, 1), model_version=task.version, request_id="seven", timeout=1_000_000)
    said = answer.get_response()
    say("version and id", said["model_name"], said["model_version"], said["id"])
    for binary in (True, False):
        outputs = wanted("probabilities", binary=binary, classes=2)
        best = client.infer("digits", given(task, 3), outputs=outputs).as_numpy("probabilities")
        found = [[entry.decode() if binary else str(entry) for entry in row] for row in best.tolist()]
        expected = task.expected["probabilities"][:3]
        for row, values in zip(found, expected, strict=True):
            for entry, index in zip(row, np.argsort(-values)[:2], strict=True):
                value, told, label = entry.split(":")
                assert int(told) == index and label == str(index) and abs(float(value) - values[index]) < 1e-4
        say(f"classification, {'binary' if binary else 'JSON'}", *[row[0].partition(":")[2] for row in found])


def concurrent(client: Any, task: Task) -> None:
    """Requests at the same time, and that the statistics count them."""
    before = client.get_inference_statistics("digits")["model_stats"][0]
    waiting = [client.async_infer("digits", given(task, 4, first=4 * n), outputs=wanted(*NAMES)) for n in range(32)]
    found = [arrays(each.get_result(), *NAMES) for each in waiting]
    agree("32 at once", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})
    after = client.get_inference_statistics("digits", task.version)["model_stats"][0]
    say("counted", after["inference_count"] - before["inference_count"], "images")


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
    }.items():
        error = refused(what, InferenceServerException, call)
        assert isinstance(error, InferenceServerException)
        say(what, error.status(), error.message())


async def with_asyncio(task: Task) -> None:
    """The client for asyncio."""
    async with triton_aio.InferenceServerClient(task.http) as client:
        say("live, ready", await client.is_server_live(), await client.is_server_ready())
        config = await client.get_model_config("digits")
        say("configuration", config["name"], config["max_batch_size"])
        for binary in (True, False):
            outputs = wanted(*NAMES, binary=binary)
            answer = await client.infer("digits", given(task, 5, binary=binary), outputs=outputs)
            agree("binary" if binary else "JSON", task, arrays(answer, *NAMES))
        answer = await client.infer(
            "digits", given(task, 64), request_compression_algorithm="gzip", response_compression_algorithm="gzip"
        )
        agree("gzip both ways", task, arrays(answer, *NAMES))
        answers = await asyncio.gather(*[client.infer("digits", given(task, 2, first=2 * n)) for n in range(32)])
        found = [arrays(answer, *NAMES) for answer in answers]
        agree("32 at once", task, {name: np.concatenate([one[name] for one in found]) for name in NAMES})


def main() -> None:
    """Asks everything."""
    given_task = task()
    begin("tritonclient", "http, blocking")
    with triton.InferenceServerClient(given_task.http, concurrency=8) as client:
        about(client, given_task)
        infer(client, given_task)
        concurrent(client, given_task)
        wrong(client, given_task)
    begin("tritonclient", "http, asyncio")
    asyncio.run(with_asyncio(given_task))


if __name__ == "__main__":
    main()
