"""The shape of a traced value."""

from pydantic import BaseModel, Field

from service.schemas.common import ModelName


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
