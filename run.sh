#!/bin/bash
# The front door of pvir: finds or installs what building takes, then hands everything over to xtask.
#   ./run.sh            the main job       ./run.sh test        all tests
#   ./run.sh lab ...    the nested lab     ./run.sh --help      the rest
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oldest=1.85

say() { echo "run.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# True if cargo is there and not too old.
cargo_is_usable() {
    local version
    version=$(cargo --version 2>/dev/null) || return 1
    version=${version#cargo }
    printf '%s\n' "$oldest" "${version%% *}" | sort --version-sort --check=quiet
}

debian_version() {
    # shellcheck source=/dev/null
    (. /etc/os-release 2>/dev/null && [[ ${ID:-} == debian ]] && echo "${VERSION_ID:-99}") || true
}

# Installs packages: the first argument says what for.
install() {
    local why=$1 log
    shift
    local -a root=()
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null || fail "$why: please run this as root, then try again: apt-get install $*"
        root=(sudo)
    fi
    log=$(mktemp -t pvir-apt-XXXXXX.log)
    say "installing $* ($why)"
    local -a apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet)
    if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "that failed; the whole log is $log"
    fi
    rm -f "$log"
}

ensure_toolchain() {
    local -a missing=()
    local why=()
    if ! cargo_is_usable; then
        why+=("no cargo $oldest or newer")
        case $(debian_version) in
            "") fail "there is no cargo $oldest or newer; please install Rust, then try again" ;;
            # the plain packages of Debian 12 are older
            12*) missing+=(cargo-web rustc-web) ;;
            *) missing+=(cargo rustc) ;;
        esac
    fi
    if ! command -v cc >/dev/null; then
        why+=("no C compiler to link with")
        missing+=(gcc libc6-dev)
    fi
    if [[ ${#missing[@]} -gt 0 && ! -e /etc/ssl/certs/ca-certificates.crt ]]; then
        why+=("no certificates to fetch crates with")
        missing+=(ca-certificates)
    fi
    if [[ ${#missing[@]} -gt 0 ]]; then
        [[ -n $(debian_version) ]] || fail "${why[*]}; please install it, then try again"
        install "$(IFS=,; echo "${why[*]}")" "${missing[@]}"
        hash -r
        cargo_is_usable || fail "cargo is still older than $oldest: $(cargo --version 2>&1 || true)"
    fi
}

# rustup's cargo may be installed without being on PATH
if [[ -d ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin ]]; then
    PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
fi
ensure_toolchain

manifest=$here/Cargo.toml
if [[ ! -x ${CARGO_TARGET_DIR:-$here/target}/debug/xtask ]]; then
    say "building xtask, which does the rest (once; it takes a quarter of a minute)"
    cargo build --manifest-path "$manifest" --package xtask --bin xtask
fi
exec cargo run --quiet --manifest-path "$manifest" --package xtask --bin xtask -- "$@"
