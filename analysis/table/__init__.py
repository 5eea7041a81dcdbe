"""From any table of the schema to clean rows, families of equal config, and cells."""
