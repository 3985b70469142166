"""The routes of the service's own API, a few lines each."""
