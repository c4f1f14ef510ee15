"""Lines of standard input as a JSON list, on one line: what a workflow's matrix is made of."""

from __future__ import annotations

import json
import sys

if __name__ == "__main__":
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        sys.exit("nothing to make a matrix of")
    sys.stdout.write(json.dumps(lines) + "\n")
