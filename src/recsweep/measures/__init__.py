"""Measures: their values, plain and from weighted cells."""
