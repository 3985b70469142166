"""The shapes of what is told of the model that serves."""

from pydantic import BaseModel, Field, computed_field

from service.inside.receptive import ReceptiveField
from service.layer import Layer
from service.manifest import Manifest
from service.schemas.common import ModelName


class LayerFacts(Layer):
    """One layer as numbers, BatchNorm folded into its convolution."""

    formula: str | None = Field(
        description="its output size along an axis, by the formula with its numbers filled in",
        examples=["⌊(28 − 3 + 2·1)/1⌋ + 1 = 28"],
    )
    receptive_field: ReceptiveField | None = Field(description="None where a value depends on the whole image")

    @computed_field(description="whether its values can be negative")  # type: ignore[prop-decorator]
    @property
    def signed(self) -> bool:
        """As `Layer` has it."""
        return super().signed


class LayersAnswer(BaseModel):
    """The layers of the network that serves, in the order of computation."""

    model: ModelName
    layers: list[LayerFacts]
    parameters: int = Field(description="of all layers")
    multiply_adds: int = Field(description="of all layers, for one image")


class Running(BaseModel):
    """What really runs."""

    provider: str = Field(description="the execution provider of the open sessions of ONNX Runtime")
    asked: str = Field(description="the provider setting")
    fallback: str | None = Field(description="why provider=auto did not take a GPU")
    graphs: bool = Field(description="whether batches run as CUDA graphs")
    precision: str = Field(
        description="of the file that predicts, or bf16, in which the float32 file is computed; feature maps are "
        "always float32's"
    )
    runtime: str = Field(description="what predicts, onnxruntime or openvino; feature maps are always ONNX Runtime's")
    threads: int = Field(description="CPU threads of one run")
    onnxruntime: str = Field(description="its version")
    openvino: str | None = Field(description="its version, where it predicts")
    version: str = Field(description="of the model that is open")
    sha256: str = Field(description="of its ONNX file")


class ModelAnswer(BaseModel):
    """The model's manifest beside what really runs."""

    running: Running
    manifest: Manifest
