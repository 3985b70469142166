"""What can go wrong in training. Each message is one sentence for the person at the terminal."""


class TrainingError(Exception):
    """The root of the tree."""


class DataError(TrainingError):
    """A data file is missing, damaged, or not the one that was published."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, or belongs to another run."""


class ReleaseError(TrainingError):
    """The model is not fit to be released; the message says where it falls short."""


class PromiseError(ReleaseError):
    """A faster variant reads too many digits otherwise than the float32 file does."""
