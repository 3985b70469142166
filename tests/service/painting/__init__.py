"""Tests of service.painting."""
