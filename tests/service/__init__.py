"""Tests of the service, a file for each of its modules."""
