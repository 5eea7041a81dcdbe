"""The results table: SQL, pandas and Arrow over the Parquet rows of every sweep in a store."""

from grok_sweeps.results.store import Store, open_store

__all__ = ["Store", "open_store"]
