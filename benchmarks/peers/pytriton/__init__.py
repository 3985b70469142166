"""The peer: PyTriton, the HTTP front end of Triton."""
