"""Bring HAProxy for the example with many replicas: ``python tools/fetch_haproxy.py``; prints where
it is.

The one on PATH will do. Else apt downloads Debian's package and what it needs, verifies them, and
they are unpacked into ``.cache/haproxy`` of the project.
"""

from __future__ import annotations

import sys

from _servers import bring

if __name__ == "__main__":
    sys.exit(bring("haproxy", otherwise="Any other HAProxy (2.4 or later) on PATH will do."))
