"""What this runs with: ``nox -s compat``. Each cell of a matrix is an environment of its own, in
which a fixed part of the tests runs; the table in docs/compatibility.md tells how it went."""
