"""The shape of predictions."""

from pydantic import BaseModel, Field

from service.rejection import Reason
from service.schemas.common import ModelName


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
