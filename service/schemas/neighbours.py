"""The shapes of the answers about training digits."""

from pydantic import BaseModel, Field

from service.schemas.common import ModelName


class TrainingDigit(BaseModel):
    """A digit of MNIST's training set."""

    label: int = Field(ge=0, le=9)
    index: int = Field(ge=0, description="its place in the set, from 0")
    image: str = Field(description="its 28×28 pixels as a PNG data URL")


class NeighbourAnswer(TrainingDigit):
    """A training digit near to the picture."""

    distance: float = Field(ge=0, le=2, description="by the metric; 0 of equal values")


class NeighboursAnswer(BaseModel):
    """The answer to a request for the nearest training digits."""

    model: ModelName
    layer: str = Field(description="in whose values they are near", examples=["fc1_relu"])
    metric: str = Field(description="cosine: 1 − the cosine of the angle between the values", examples=["cosine"])
    digit: int = Field(ge=0, le=9, description="that the float32 file reads in the picture")
    agreement: float = Field(ge=0, le=1, description="the share of the neighbours that have this label")
    neighbours: list[NeighbourAnswer] = Field(description="the nearest first")


class ExemplarAnswer(TrainingDigit):
    """A training digit that excites a channel, and where."""

    activation: float = Field(description="the channel's largest value")
    at: list[int] | None = Field(
        min_length=2, max_length=2, description="row and column of that value in its map; None of a linear layer"
    )
    box: list[int] | None = Field(
        min_length=4,
        max_length=4,
        description="the pixels that it depends on: left, top, width, height; what is beyond the border is padding",
    )


class ExemplarsAnswer(BaseModel):
    """The answer to a request for the training digits that excite a channel most."""

    model: ModelName
    layer: str = Field(examples=["conv2"])
    channel: int
    exemplars: list[ExemplarAnswer] = Field(description="the most excited first")
