"""Tests of service.operators.catalogue."""
