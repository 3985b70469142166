"""The shapes of what is said about the operators, for the OpenAPI document and for whoever reads it."""

from pydantic import BaseModel, Field


class PictureSize(BaseModel):
    """A width and a height in pixels."""

    width: int = Field(examples=[28])
    height: int = Field(examples=[28])


class FormulasAnswer(BaseModel):
    """How the output's size follows from the input's."""

    width: str = Field(examples=["⌊(28 − 3 + 2·1)/1⌋ + 1 = 28"])
    height: str = Field(examples=["⌊(28 − 3 + 2·1)/1⌋ + 1 = 28"])


class ShownAnswer(BaseModel):
    """How the values became the picture."""

    show: str = Field(description="grey, range, signed or magnitude")
    low: float = Field(description="the value of the first colour")
    high: float = Field(description="the value of the last colour")


class OperatorAnswer(BaseModel):
    """What an operator made of a picture."""

    operator: str = Field(examples=["cross-correlation"])
    input: PictureSize
    output: PictureSize
    formula: FormulasAnswer | None = Field(description="None where each pixel is taken by itself")
    kernel: list[list[float]] | None = Field(description="rows of weights as they were given; convolution turns them")
    window: PictureSize | None = Field(description="of the kernel or pooling")
    stride: int = Field(description="in pixels, along both axes")
    padding: PictureSize = Field(description="zeros on the left and on the right, and above and below, in pixels")
    multiply_adds: int = Field(description="one for each cell of each window; 0 where nothing is multiplied")
    minimum: float = Field(description="the smallest value of the output; those of the input are from 0 to 1")
    maximum: float = Field(description="its largest value")
    shown: ShownAnswer
    seen: str = Field(description="the input's luminance, as a PNG data URL")
    picture: str = Field(description="the output, as a PNG data URL")


class OperatorFacts(BaseModel):
    """One operator."""

    name: str = Field(examples=["max-pooling"])
    description: str
    parameters: dict[str, str | int | None] = Field(
        description="what it takes, with what it takes if nothing is said: None is for size the kernel's own, for "
        "stride the window's size, and for kernel none",
        examples=[{"size": 2, "stride": None}],
    )


class KernelFacts(BaseModel):
    """One named kernel."""

    name: str = Field(examples=["sobel-x"])
    description: str
    size: int = Field(description="cells along each side, if no other size is asked for")
    sized: bool = Field(description="whether another size can be asked for")
    odd: bool = Field(description="whether that is to be odd")
    values: list[list[float]] = Field(description="the weights in that size, as cross-correlation lays them")


class ShowFacts(BaseModel):
    """One way to show values."""

    name: str = Field(examples=["grey"])
    description: str


class OperatorLimits(BaseModel):
    """What is computed at most."""

    pixels: int = Field(description="of the input, and of the output")
    size: int = Field(description="cells along a window's or kernel's side")
    stride: int = Field(description="in pixels")
    cells: int = Field(description="of all windows together")
    transposed_cells: int = Field(description="of all windows of a transposed convolution together")


class OperatorsAnswer(BaseModel):
    """The operators, the named kernels, and how values are shown."""

    operators: list[OperatorFacts]
    kernels: list[KernelFacts]
    shows: list[ShowFacts]
    limits: OperatorLimits
