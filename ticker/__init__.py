"""A live market-data server: ticks in, batches between, frames out."""

__version__ = "1.0.0"
