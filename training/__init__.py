"""The training package: from MNIST's files to a verified model version, one step a module."""
