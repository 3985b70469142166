"""Every setting of the service, from flags, else from environment variables, else the default."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, FilePath, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.engine import Provider
from service.openvino import MISSING
from service.openvino import installed as openvino_installed


def _parted(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\sA-Z]+")
COLLECTOR = re.compile(
    r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[^\s?#@]*)?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?(/[^\s?#@]*)?"
)
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parted)]
"""Several names with commas between them."""


def _can_export() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # of what it is in
        return False


class Settings(BaseSettings):
    """Serves a model of handwritten digits. Each flag is also an environment variable: --port is DIGITSCOPE_PORT."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix="DIGITSCOPE_",
        env_ignore_empty=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    grpc_port: int | None = Field(
        default=None, ge=0, le=65535, description="port for the protocol over gRPC (extra grpc); none or 0 for no gRPC"
    )
    api_keys: str | None = Field(
        default=None,
        description="file of the API keys without one of which nothing is answered but health and the page, or its "
        "lines themselves; python -m service keys new makes them",
    )
    insecure: bool = Field(default=False, description="listen beyond this machine even without API keys")
    allow_origin: Names = Field(
        default=(), description="origins of web pages elsewhere that may ask, with commas between them; * for all"
    )
    allow_host: Names = Field(
        default=(),
        description="names in the Host header that are answered to, beside addresses and names without a dot; on "
        "this machine alone none other are, elsewhere all without this; * for all",
    )
    models: Path = Field(
        default=Path("models"), description="folder with the models, each version in <name>/<version>/"
    )
    model_name: str = Field(default="digits", pattern=r"^[a-z0-9_-]+$", description="the model to serve")
    model_version: str = Field(
        default="latest", pattern=r"^(latest|[1-9][0-9]{0,8})$", description="'latest' or a number"
    )
    serve_versions: str = Field(
        default="",
        pattern=r"^(|[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*)$",
        description="versions to serve beside it, with commas, each under /v2/models/<name>/versions/<n>",
    )
    watch: bool = Field(
        default=False, description="look for a newer version every other second, and change to it without a gap"
    )
    repository_api: bool = Field(
        default=False, description="load and let go of versions by POST /v2/repository/models/<name>/load and …/unload"
    )
    model_public_key: FilePath | None = Field(
        default=None, description="serve only versions signed for this key, a PEM file (extra signing)"
    )
    provider: Provider = Field(
        default="auto",
        description="of ONNX Runtime: auto (a GPU where one works, else the CPU, and says so), cuda, tensorrt or cpu",
    )
    precision: Literal["fp32", "int8", "bf16", "auto"] = Field(
        default="fp32",
        description="fp32 is the contract's own file; int8 the model's faster variant; bf16 that file in bfloat16, by "
        "OpenVINO on a CPU that computes in it; auto takes int8 on a CPU, if the model has it",
    )
    runtime: Literal["auto", "onnxruntime", "openvino"] = Field(
        default="auto",
        description="what predicts on a CPU: onnxruntime, or openvino (extra openvino); auto is ONNX Runtime, but "
        "OpenVINO for bf16, and with --precision auto where it is installed and faster",
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=256)] = Field(
        default="auto", description="processes that serve; auto is one for each CPU that may be used, and one on a GPU"
    )
    threads: int = Field(
        default=1, ge=0, description="CPU threads of one run in each worker; 0 for the CPUs that the process may use"
    )
    max_body: int = Field(default=32 * 2**20, ge=1, description="bytes of a request's body")
    max_pixels: int = Field(default=4096 * 4096, ge=64, description="pixels of a picture")
    max_files: int = Field(default=64, ge=1, description="pictures in a multipart request")
    max_images: int = Field(default=256, ge=1, description="digits in a request, prepared or found in its pictures")
    max_connections: int = Field(
        default=4096,
        ge=1,
        description="connections of a worker, and as many again over gRPC; with more, one that rests is closed, or "
        "else refused",
    )
    max_held: int = Field(
        default=128 * 2**20, ge=1, description="bytes of all bodies beyond 64 KB that a worker holds at once"
    )
    max_unsent: int = Field(
        default=128 * 2**20,
        ge=1,
        description="bytes of answers that may wait to be read in a worker before large ones are refused by 503",
    )
    max_batch: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="images that the engine is given at once; 0 for 64 on a CPU, 2048 on a GPU",
    )
    max_queue_delay: int = Field(
        default=0, ge=0, description="microseconds that a batch which is not full waits for more; of use on GPUs"
    )
    max_waiting: int = Field(
        default=32768, ge=1, description="images that may wait; with more, a request is refused by 503"
    )
    max_wait: float = Field(
        default=30,
        gt=0,
        description="milliseconds that the engine may need for what waits; with more, a request is refused by 503",
    )
    timeout: float = Field(
        default=60,
        gt=0,
        description="seconds that a request may take as a whole, its body's coming included; a caller may give it less",
    )
    patience: float = Field(
        default=10,
        gt=0,
        description="seconds for a request's head, and until who sends or reads less than 1 KB a second is cut off",
    )
    drain_delay: float = Field(
        default=0,
        ge=0,
        description="seconds between the signal to end and the end itself, in which it is not ready but still serves",
    )
    access_log: bool = Field(default=False, description="log a line for each request")
    traces: str | None = Field(
        default=None,
        description="where traces go, by OTLP over HTTP (extra traces): the URL of a collector, or env for what "
        "OTEL_EXPORTER_OTLP_ENDPOINT says; the other variables of OpenTelemetry hold for both",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least that is logged"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto is text on a terminal, else json"
    )

    @field_validator("runtime")
    @classmethod
    def _can_compute(
        cls, runtime: Literal["auto", "onnxruntime", "openvino"], info: ValidationInfo
    ) -> Literal["auto", "onnxruntime", "openvino"]:
        bfloat16 = info.data.get("precision") == "bf16"
        if bfloat16 and runtime == "onnxruntime":
            raise PydanticCustomError("extra", "ONNX Runtime does not compute in bf16 on a CPU: OpenVINO does")
        if (bfloat16 or runtime == "openvino") and not openvino_installed():
            raise PydanticCustomError("extra", MISSING)
        return runtime

    @field_validator("allow_origin")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):  # which no browser would ever send, so that it would allow nothing
                said = "an origin is a scheme, a host and perhaps a port in small letters, such as https://lab.example:8443"
                raise PydanticCustomError("origin", said)
        return origins

    @field_validator("watch")
    @classmethod
    def _has_something_to_watch_for(cls, watch: bool, found: ValidationInfo) -> bool:
        if watch and found.data.get("model_version", "latest") != "latest":
            raise PydanticCustomError("pinned", "a newer version is looked for only with --model-version latest")
        return watch

    @field_validator("model_public_key")
    @classmethod
    def _has_its_extra_too(cls, key: Path | None) -> Path | None:
        if key and find_spec("model_signing") is None:
            raise PydanticCustomError("extra", "signatures need the extra signing: pip install 'digitscope[signing]'")
        return key

    @field_validator("traces")
    @classmethod
    def _can_be_sent(cls, url: str | None) -> str | None:
        if url and url != "env" and not COLLECTOR.fullmatch(url):
            said = "traces go to a URL such as http://collector:4318; keys go into OTEL_EXPORTER_OTLP_HEADERS"
            raise PydanticCustomError("collector", said)
        if url and not _can_export():
            raise PydanticCustomError("extra", "traces need the extra traces: pip install 'digitscope[traces]'")
        return url

    @field_validator("grpc_port")
    @classmethod
    def _has_its_extra(cls, port: int | None) -> int | None:
        # Looked for and not imported: workers are forked before gRPC is, which does not bear a fork after its start.
        if port and find_spec("grpc") is None:
            raise PydanticCustomError("extra", "gRPC needs the extra grpc: pip install 'digitscope[grpc]'")
        return port
