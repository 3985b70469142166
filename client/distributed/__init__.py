"""The same stages as a job of Ray Data, on this machine or on a cluster; nothing else of the client knows Ray."""
