"""The operators of convolutional networks, each on a picture by itself."""
