#!/bin/sh
# Measures the release programs beside other engines from .venv-bench, which it makes from the pinned requirements.
set -eu
wanted=tests/bench/requirements.txt
if ! cmp -s $wanted .venv-bench/requirements.txt; then
    python3 -m venv .venv-bench || { echo "python3 cannot make .venv-bench: apt-get install python3-venv" >&2; exit 1; }
    .venv-bench/bin/python -m pip install --disable-pip-version-check -r $wanted
    cp $wanted .venv-bench/requirements.txt
fi
exec .venv-bench/bin/python tests/bench/bench.py "$@"
