"""The shapes of feature maps and kernels."""

from typing import Any

from pydantic import BaseModel, Field

from service.schemas.common import ModelName


class Statistics(BaseModel):
    """What each channel's values are like, every list nested as (pictures, channels)."""

    minimum: list[list[float]]
    maximum: list[list[float]]
    mean: list[list[float]]
    zeros: list[list[float]] = Field(description="the fraction of values that are exactly zero")
    positive: list[list[float]] = Field(description="the fraction of values above zero, which a ReLU passes")
    dead: list[list[bool]] | None = Field(
        description="no value is above zero: the channel's ReLU passes nothing; null for a linear layer, whose units "
        "have one value each, which would always be one of the two"
    )
    saturated: list[list[bool]] | None = Field(
        description="every value is above zero: the channel's ReLU cuts nothing, so that the unit is merely linear; "
        "null for a linear layer"
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
