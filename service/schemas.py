"""The shapes of the answers, for the OpenAPI document and for whoever reads it."""

from typing import Any

from pydantic import BaseModel, Field, computed_field

from service.layer import Layer
from service.manifest import Manifest
from service.receptive import ReceptiveField
from service.rejection import Reason


class ErrorAnswer(BaseModel):
    """What every refusal and failure says."""

    error: str = Field(description="one sentence", examples=["the picture has 4×4 pixels, and at least 8×8 are needed"])


class ModelName(BaseModel):
    """The model that answered."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["1"])


class PredictionAnswer(BaseModel):
    """The answer to one picture, or with ?segment=true to one digit in it."""

    picture: int | None = Field(None, ge=0, description="with ?segment=true: which picture it is in, from 0")
    box: list[int] | None = Field(
        None, min_length=4, max_length=4, description="with ?segment=true: left, top, width, height, in its pixels"
    )
    digit: int = Field(ge=0, le=9, description="always the best guess")
    confidence: float = Field(ge=0, le=1, description="the probability of that digit")
    rejected: bool = Field(description="whether the picture is better not taken for that digit")
    reason: Reason | None = Field(
        description="why it is rejected: it is blank, has several digits, is not a digit, or could well be another one"
    )
    probabilities: list[float] = Field(min_length=10, max_length=10, description="of the digits 0 to 9")
    seen: str | None = Field(None, description="with ?seen=true: the 28×28 that the network saw, as a PNG data URL")


class PredictAnswer(BaseModel):
    """The answer to a request for predictions."""

    model: ModelName
    predictions: list[PredictionAnswer] = Field(
        description="one a picture, in the order sent; one a digit if segmented"
    )


class Statistics(BaseModel):
    """What each channel's values are like, every list nested as (pictures, channels)."""

    minimum: list[list[float]]
    maximum: list[list[float]]
    mean: list[list[float]]
    zeros: list[list[float]] = Field(description="the fraction of values that are exactly zero")
    positive: list[list[float]] = Field(description="the fraction of values above zero, which a ReLU passes")
    dead: list[list[bool]] = Field(description="no value is above zero: the channel's ReLU passes nothing")
    saturated: list[list[bool]] = Field(
        description="every value is above zero: the channel's ReLU cuts nothing, so that the unit is merely linear"
    )


class LayerAnswer(BaseModel):
    """One layer's activations."""

    name: str = Field(examples=["conv1"])
    operator: str = Field(examples=["Conv"])
    shape: list[int] = Field(description="for one picture: channels, height, width; or values", examples=[[8, 28, 28]])
    signed: bool = Field(description="whether values can be negative")
    channels: list[int] = Field(description="the numbers of those channels, or values, that are here")
    statistics: Statistics
    values: list[Any] | None = Field(None, description="numbers nested as (pictures, *shape), but for ?values=false")


class FeaturesAnswer(BaseModel):
    """The answer to a request for feature maps as JSON."""

    model: ModelName
    layers: list[LayerAnswer]


class Source(BaseModel):
    """What a layer's weights are over."""

    name: str = Field(description="the layer before, or image", examples=["pool1"])
    shape: list[int] = Field(description="channels, height, width; or values", examples=[[8, 14, 14]])


class KernelsAnswer(BaseModel):
    """The answer to a request for a layer's weights as JSON."""

    model: ModelName
    name: str = Field(examples=["conv2"])
    operator: str = Field(examples=["Conv"])
    folded: str | None = Field(
        description="what is part of these weights without a node of its own: BatchNorm, in each convolution, or the "
        "temperature of the calibration, in the last layer"
    )
    source: Source
    channels: list[int] = Field(description="the numbers of those outputs that are here")
    shape: list[int] = Field(description="of the weights", examples=[[32, 8, 5, 5]])
    weight: list[Any] = Field(description="numbers nested as (outputs, inputs, height, width) or (outputs, inputs)")
    bias: list[float] = Field(description="one number for each output")


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


class TermAnswer(BaseModel):
    """One term of a value's sum."""

    channel: int = Field(description="of the input, or its unit")
    y: int | None = Field(description="its row, which may be beyond the border; None where the input has no rows")
    x: int | None = Field(description="its column")
    weight: float
    input: float
    product: float = Field(description="weight · input, exactly")
    padding: bool = Field(description="whether the place is beyond the border, so that the input is 0")
    running: float = Field(description="the sum so far, the bias first")


class RestAnswer(BaseModel):
    """The terms that are not listed."""

    terms: int = Field(description="how many")
    sum: float


class NormalisationAnswer(BaseModel):
    """What makes pixels the input of the first layer: (pixel − mean) / std, in grey levels."""

    mean: float
    std: float


class PixelsAnswer(BaseModel):
    """A value as offset + Σ weight · pixel, for as long as the same ReLUs pass and the same maxima are taken."""

    offset: float
    weights: list[list[float]] = Field(description="28×28, by which a grey level of each pixel moves the value")
    products: list[list[float]] = Field(description="28×28, weight · pixel")
    exact: float = Field(description="that sum in float64")
    difference: float = Field(description="ONNX Runtime's value less that")


class TraceAnswer(BaseModel):
    """Why a value is what it is: bias + Σ weight · input."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    operator: str = Field(examples=["Conv"])
    channel: int
    y: int | None
    x: int | None
    value: float = Field(description="ONNX Runtime's float32")
    exact: float = Field(description="the sum in float64 of the same inputs and weights")
    difference: float = Field(description="value − exact")
    source: str = Field(description="the layer that the inputs are of, or normalised: the pixels", examples=["pool1"])
    normalisation: NormalisationAnswer | None = Field(description="where the inputs are pixels")
    bias: float
    terms: list[TermAnswer]
    rest: RestAnswer
    pixels: PixelsAnswer | None = Field(description="with ?follow=true")


class Running(BaseModel):
    """What really runs."""

    provider: str = Field(description="the ONNX Runtime execution provider of the open session")
    asked: str = Field(description="the provider setting")
    fallback: str | None = Field(description="why provider=auto did not take a GPU")
    graphs: bool = Field(description="whether batches run as CUDA graphs")
    precision: str = Field(description="of the file that predicts; feature maps are always of the float32 file")
    threads: int = Field(description="CPU threads of one run")
    onnxruntime: str = Field(description="its version")
    version: str = Field(description="of the model that is open")
    sha256: str = Field(description="of its ONNX file")


class ModelAnswer(BaseModel):
    """The model's manifest beside what really runs."""

    running: Running
    manifest: Manifest
