#!/bin/sh
# Names whatever a build needs and this machine lacks, each with how to get it; silent when nothing is missing.
missing=0
lacks() {
    echo "missing: $1" >&2
    echo "    get it: $2" >&2
    missing=1
}

if [ "$(uname -sm)" != "Linux x86_64" ]; then
    echo "Headwater builds on Linux x86-64 only; this is $(uname -sm)." >&2
    exit 1
fi

needed_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
get_rust="https://rustup.rs, or where rustup is installed: rustup update stable"
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    lacks "Rust $needed_rust or newer (cargo and rustc)" "$get_rust"
else
    rust=$(rustc --version | cut -d ' ' -f 2 | cut -d - -f 1)
    oldest=$(printf '%s\n%s\n' "$needed_rust" "$rust" | sort -V | head -n 1)
    [ "$oldest" = "$needed_rust" ] || lacks "Rust $needed_rust or newer (this is $rust)" "$get_rust"
fi

command -v "${CXX:-c++}" >/dev/null || lacks "a C++17 compiler (${CXX:-c++})" "apt-get install g++, or dnf install gcc-c++"

get_python="apt-get install python3 python3-pip, or dnf install python3 python3-pip"
if ! command -v python3 >/dev/null; then
    lacks "Python 3.9 or newer (python3)" "$get_python"
elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
    lacks "Python 3.9 or newer (this is $(python3 --version))" "$get_python"
elif ! python3 -m pip --version >/dev/null 2>&1; then
    lacks "pip for python3" "$get_python"
fi

glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d ' ' -f 2)
oldest=$(printf '2.28\n%s\n' "$glibc" | sort -V | head -n 1)
[ "$oldest" = 2.28 ] || lacks "glibc 2.28 or newer (this is ${glibc:-another C library})" "a newer system: Debian 10, Ubuntu 20.04, RHEL 8 or later"

exit $missing
