"""What all answers share."""

from pydantic import BaseModel, Field


class ErrorAnswer(BaseModel):
    """What every refusal and failure says."""

    error: str = Field(description="one sentence", examples=["the picture has 4×4 pixels, and at least 8×8 are needed"])


class ModelName(BaseModel):
    """The model that answered."""

    name: str = Field(examples=["digits"])
    version: str = Field(examples=["1"])
