"""The shapes of the answers, for the OpenAPI document and for whoever reads it."""
