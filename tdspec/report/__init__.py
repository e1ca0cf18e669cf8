"""Runs and plans -> pictures and pages."""
