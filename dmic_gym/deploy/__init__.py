"""The codec that people deploy: files and arrays in, standard HEVC out, and back."""
