"""The x265 path: an exact QP for every CTU."""
