"""The paper in parts: which of its runs each scale of `grok-sweeps reproduce` trains, and in which sweeps."""
