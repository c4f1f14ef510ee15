"""Bring nginx, for the tests of a Hub behind it: ``python tools/fetch_nginx.py``; prints where it
is.

The one on PATH will do. Else apt downloads Debian's package and what it needs, verifies them, and
they are unpacked into ``.cache/nginx`` of the project.
"""

from __future__ import annotations

import sys

from _servers import bring

if __name__ == "__main__":
    otherwise = "Any other nginx (1.18 or later) on PATH will do."
    sys.exit(bring("nginx", otherwise=otherwise, also="/usr/sbin"))
