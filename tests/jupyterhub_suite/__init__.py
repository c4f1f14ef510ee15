"""JupyterHub's own test suite, through this proxy; ``nox -s jupyterhub`` runs it.

The tests are those of the installed ``jupyterhub`` wheel, not a copy. ``plugin`` points their
MockHub to traefikhub, ``deselected.toml`` names what is about another proxy, with the reason, and
``pytest.ini`` holds the settings that the wheel lacks.
"""
