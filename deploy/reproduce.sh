#!/bin/sh
# Runs the test of a fix on the code before it, where it must fail:
#     deploy/reproduce.sh "SUBJECT OF THE FIX" PATH-OF-THE-CODE WORDS-FOR-CARGO-TEST...
set -eu

subject=$1
path=$2
shift 2
root=$(git rev-parse --show-toplevel)
commit=$(git log --format='%H%x09%s' | awk -F '\t' -v subject="$subject" '$2 == subject { print $1; exit }')
if [ -z "$commit" ]; then
    echo "no commit is called \"$subject\"" >&2
    exit 2
fi

tree=$(mktemp -d)
trap 'git -C "$root" worktree remove --force "$tree"' EXIT
git worktree add --quiet --detach "$tree" "$commit"
git -C "$tree" checkout --quiet "$commit^" -- "$path"
for name in .libtorch .libtorch.choice; do
    if [ -e "$root/$name" ]; then ln -s "$root/$name" "$tree/$name"; fi
done
cd "$tree"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target/reproduce}"
cargo test --no-run "$@"
if cargo test "$@"; then
    echo "the test passes before \"$subject\": it does not show what was mended" >&2
    exit 1
fi
echo "as it must, the test fails before \"$subject\""
