"""``python -m traefikhub.cli``: the command, for where scripts are not on PATH."""

from traefikhub.cli import main

main()
