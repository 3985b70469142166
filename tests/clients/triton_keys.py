"""tritonclient with an API key, over HTTP and over gRPC, by the headers that each of its calls takes."""

import os
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tests.clients.digits import Task, agree, begin, refused, say, task


def ask(triton: Any, url: str, task: Task) -> None:
    """What is open, what a key opens, and what is refused."""
    headers = {"authorization": f"Bearer {os.environ['KEY']}"}
    tensor = triton.InferInput("image", [5, 1, 28, 28], "UINT8")
    tensor.set_data_from_numpy(task.images[:5])
    with triton.InferenceServerClient(url) as client:
        say(
            "live, ready, model ready",
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready("digits"),
        )
        client.get_model_metadata("digits", headers=headers)
        client.get_model_config("digits", headers=headers)
        answer = client.infer("digits", [tensor], headers=headers)
        agree("with its key", task, {name: answer.as_numpy(name) for name in ("logits", "probabilities")})
        for what, call in {
            "no key": lambda: client.infer("digits", [tensor]),
            "a wrong key": lambda: client.infer("digits", [tensor], headers={"authorization": "Bearer wrong"}),
            "statistics": lambda: client.get_inference_statistics("digits", headers=headers),
        }.items():
            error = refused(what, InferenceServerException, call)
            assert isinstance(error, InferenceServerException)
            say(what, error.status(), error.message())


def main() -> None:
    """Asks over both."""
    given_task = task()
    begin("tritonclient", "http, with a key")
    ask(triton_http, given_task.http, given_task)
    begin("tritonclient", "grpc, with a key")
    ask(triton_grpc, given_task.grpc, given_task)


if __name__ == "__main__":
    main()
