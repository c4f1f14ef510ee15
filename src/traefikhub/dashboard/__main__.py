"""``python -m traefikhub.dashboard``, as the Hub starts it."""

from __future__ import annotations

from traefikhub.dashboard._run import main

main()
