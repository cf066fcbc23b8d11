"""Synthetic X-ray coronary angiograms."""
