#!/bin/sh
# Every static check, warnings as errors; a check whose tool is not there says so instead of passing in silence.
set -eu
BUF=1.75.0

echo "format"
cargo fmt --all --check

echo "clippy"
cargo clippy --workspace --all-targets -- -D warnings
cargo clippy -p engine -p kernels --all-targets --features engine/models,kernels/models -- -D warnings

echo "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

echo "scripts"
for script in deploy/*.sh; do sh -n "$script"; done
git ls-files '*.py' | xargs python3 -c 'import ast, sys; [ast.parse(open(path).read(), path) for path in sys.argv[1:]]'

if ! command -v npx >/dev/null; then
    echo "contract rules skipped: npx is not installed"
elif ! (cd proto && timeout 120 npx --yes "@bufbuild/buf@$BUF" --version) >/dev/null 2>&1; then
    echo "contract rules skipped: buf $BUF cannot be fetched"
else
    echo "contract rules"
    (cd proto && npx --yes "@bufbuild/buf@$BUF" lint)
fi

if ! command -v cargo-deny >/dev/null; then
    echo "dependency audit skipped: cargo-deny is not installed"
elif ! cargo deny fetch >/dev/null 2>&1; then
    echo "dependency audit: the advisory list cannot be reached, so licences, bans and sources only"
    cargo deny --offline check licenses bans sources
else
    echo "dependency audit"
    cargo deny check
fi
echo "lint passed"
