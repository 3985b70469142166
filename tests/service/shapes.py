"""The layers of the reference architecture with their shapes for one image, as the design fixes them."""

SHAPES: dict[str, tuple[int, ...]] = {
    "conv1": (8, 28, 28),
    "relu1": (8, 28, 28),
    "pool1": (8, 14, 14),
    "conv2": (32, 14, 14),
    "relu2": (32, 14, 14),
    "pool2": (32, 7, 7),
    "fc1": (600,),
    "fc1_relu": (600,),
    "logits": (10,),
}
