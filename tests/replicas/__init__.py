"""Everything of docs/ha, restarted and killed under traffic: ``python -m replicas``. What it means:
docs/high-availability.md."""
