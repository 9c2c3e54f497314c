#!/bin/bash
# The front door of pvir: finds or installs what building takes, then hands everything over to xtask.
#   ./run.sh            the main job       ./run.sh test        all tests
#   ./run.sh lab ...    the nested lab     ./run.sh --help      the rest
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")

say() { echo "run.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# True if the version in the first argument is not too old.
is_new_enough() {
    [[ -n $1 ]] && printf '%s\n' "$oldest" "$1" | sort --version-sort --check=quiet
}

cargo_is_usable() {
    local version
    version=$(cargo --version 2>/dev/null) || return 1
    version=${version#cargo }
    is_new_enough "${version%% *}"
}

# Runs apt-get, quietly unless it fails.
apt() {
    local log
    log=$(mktemp -t pvir-apt-XXXXXX.log)
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet "$@" >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "apt-get $1 failed; the whole log is $log"
    fi
    rm -f "$log"
}

# Debian's packages with a cargo that is new enough: the plain ones, or those kept new for its browsers.
cargo_packages() {
    local candidate
    candidate=$(apt-cache policy cargo | sed -n 's/^ *Candidate: //p')
    if is_new_enough "$candidate"; then echo cargo rustc; else echo cargo-web rustc-web; fi
}

ensure_toolchain() {
    local -a missing=() packages=() as_root=()
    cargo_is_usable || missing+=("cargo $oldest or newer")
    command -v cc >/dev/null || missing+=("a C compiler to link with")
    [[ ${#missing[@]} -gt 0 ]] || return 0

    local what
    what=$(printf ', %s' "${missing[@]}")
    what=${what:2}
    command -v apt-get >/dev/null || fail "this is missing: $what; please install it, then try again"
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null ||
            fail "this is missing: $what; please run as root: apt-get update && apt-get install gcc libc6-dev $(cargo_packages)"
        as_root=(sudo)
    fi
    say "fetching apt's lists of packages (to install $what)"
    apt update
    if ! cargo_is_usable; then
        read -ra packages < <(cargo_packages)
    fi
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    # cargo fetches crates by https
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || packages+=(ca-certificates)
    say "installing ${packages[*]} (missing: $what)"
    apt install --no-install-recommends "${packages[@]}"
    hash -r
    cargo_is_usable || fail "cargo is still older than $oldest: $(cargo --version 2>&1 || true)"
}

# rustup's cargo may be installed without being on PATH
if [[ -d ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin ]]; then
    PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
fi
ensure_toolchain

manifest=$here/Cargo.toml
if [[ ! -x ${CARGO_TARGET_DIR:-$here/target}/debug/xtask ]]; then
    say "building xtask, which does the rest (once; it takes half a minute)"
    cargo build --manifest-path "$manifest" --package xtask --bin xtask
fi
exec cargo run --quiet --manifest-path "$manifest" --package xtask --bin xtask -- "$@"
