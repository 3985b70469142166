"""Tests of service.protocol."""
