"""Real processes, real signals: what a hub is promised when things break. ``python -m faults``.

What is injected and what is checked: docs/faults.md.
"""
