"""The shapes of the answers about what an answer rests on."""

from pydantic import BaseModel, Field

from service.inside.attribution import Method
from service.schemas.common import ModelName


class Guess(BaseModel):
    """The network's own answer to the picture, by the float32 file."""

    digit: int = Field(ge=0, le=9)
    confidence: float = Field(ge=0, le=1, description="the probability of that digit")


class CourseAnswer(BaseModel):
    """What becomes of a digit while pixels with ink go or come in 28 steps, most supporting ones first."""

    curve: list[float] = Field(min_length=29, max_length=29, description="the probability of the digit after each step")
    logits: list[float] = Field(min_length=29, max_length=29, description="its logit")
    area: float = Field(description="under the probability, over a width of 1")
    random_area: float = Field(description="the same of random orders, the mean of five")
    logit_area: float
    random_logit_area: float


class FaithfulnessAnswer(BaseModel):
    """How well the order of a map's pixels agrees with what the network needs."""

    deletion: CourseAnswer = Field(description="pixels become black; the smaller the area, the better the map")
    insertion: CourseAnswer = Field(description="pixels come into a black image; the larger the area, the better")


class DigitMap(BaseModel):
    """The map of one digit. The four sums are those of method=contributions alone."""

    digit: int = Field(ge=0, le=9)
    map: list[list[float]] = Field(description="28×28, positive where a pixel supports the digit")
    bound: float = Field(ge=0, description="the largest magnitude of the map")
    faithfulness: FaithfulnessAnswer | None = Field(None, description="unless faithfulness=false")
    sum: float | None = Field(None, description="of the map")
    offset: float | None = Field(None, description="what biases and normalisation add to the sum")
    logit: float | None = Field(None, description="ONNX Runtime's")
    difference: float | None = Field(None, description="logit − (sum + offset), which measures how complete the map is")


class AttributionHead(BaseModel):
    """What is said of all the maps of an answer."""

    model: ModelName
    method: Method
    prediction: Guess
    unit: str = Field(description="of the map", examples=["logits per grey level"])


class AttributionAnswer(AttributionHead, DigitMap):
    """The map of one digit."""


class AttributionsAnswer(AttributionHead):
    """The maps of all ten digits."""

    digits: list[DigitMap] = Field(min_length=10, max_length=10)


class ReplyAnswer(BaseModel):
    """What the network says."""

    logits: list[float] = Field(min_length=10, max_length=10)
    probabilities: list[float] = Field(min_length=10, max_length=10)
    digit: int = Field(ge=0, le=9)


class SilencedAnswer(ReplyAnswer):
    """What it says without some channels."""

    channels: list[int] = Field(description="that are silenced together, from 0")
    difference: list[float] = Field(min_length=10, max_length=10, description="its logits less those with all channels")


class AblationAnswer(BaseModel):
    """What the answer would be without channels of a layer."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    before: ReplyAnswer
    silenced: list[SilencedAnswer] = Field(description="one item for the channels asked for, or one for each channel")
