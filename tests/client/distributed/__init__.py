"""The job of Ray Data, on a cluster of several nodes on this machine."""
