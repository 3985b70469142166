"""Receptive fields: which pixels of the image a value of a layer depends on.

The recurrences are those of A. Araujo, W. Norris and J. Sim, "Computing receptive fields of convolutional neural
networks" (Distill, 2019), section 2: each layer adds (F − 1) jumps to the size, and multiplies the jump by S.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from service.layer import Layer


class ReceptiveField(BaseModel):
    """The square of pixels behind the value at row y, column x of a layer.

    Along each axis it has `size` pixels around the middle at `start` + y · `jump`, pixels counted from 0; what of it is
    beyond the border is padding.
    """

    model_config = ConfigDict(frozen=True)

    size: int = Field(description="pixels along each axis", examples=[14])
    jump: int = Field(description="pixels from one value's middle to the next one's", examples=[4])
    start: float = Field(description="the middle of the first value's, in pixels", examples=[1.5])


def receptive_fields(layers: Sequence[Layer]) -> list[ReceptiveField | None]:
    """The receptive field of each layer in the order of computation.

    It is None from the first linear layer on, whose values depend on the whole image.
    """
    size, jump, start = 1, 1, 0.0
    whole = False
    fields: list[ReceptiveField | None] = []
    for layer in layers:
        if layer.kernel is not None:
            kernel, stride, padding = layer.window
            start += ((kernel - 1) / 2 - padding) * jump
            size += (kernel - 1) * jump
            jump *= stride
        whole = whole or layer.operator == "Gemm"
        fields.append(None if whole else ReceptiveField(size=size, jump=jump, start=start))
    return fields
