#!/bin/sh
# Compares the release programs with a live `transformers` from .venv, which it makes from the pinned requirements.
set -eu
wanted=tests/parity/requirements.txt
if ! cmp -s $wanted .venv/requirements.txt; then
    python3 -m venv .venv || { echo "python3 cannot make a .venv: apt-get install python3-venv" >&2; exit 1; }
    .venv/bin/python -m pip install --disable-pip-version-check -r $wanted
    cp $wanted .venv/requirements.txt
fi
exec .venv/bin/python tests/parity/full.py "$@"
