"""Tests of service.inside."""
