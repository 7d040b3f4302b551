#!/bin/sh
# check_roots.sh - a newcomer's first hour: bare Debian roots made by debootstrap, in which ./deps.sh and make check run as
# root with nothing but PATH and HOME in the environment. The compiler must not warn. Then packages are taken away: without
# optional ones everything builds and says what is left out, and a missing mandatory one is one sentence.
#
#   RELEASES="bookworm trixie"   which releases (Debian's names)
#   ROOTS=FOLDER                 where the roots and the packages go; the packages there are used again
#   KEEP=1                       leaves the roots there afterwards
#   MIRROR=URL                   instead of the mirror that this machine's apt uses
#   PARTS="mandatory readme optional serial"   what is tried
#
# Each command runs in namespaces of its own: what is mounted for it, and what it leaves running, ends with it.
set -u
RELEASES=${RELEASES:-bookworm trixie}
ROOTS=${ROOTS:-$(pwd)/${B:-build}/roots}
PARTS=${PARTS:-mandatory readme optional serial}
failed=0

skip() {
    echo "skipped: $*"
    exit $failed
}
fail() {
    echo "FAIL: $release: $*"
    failed=1
}

[ "$(id -u)" = 0 ] || skip "only root can make a root with debootstrap"
command -v debootstrap >/dev/null || skip "debootstrap is not installed; ./deps.sh --all installs it"
unshare --mount --pid --fork true 2>/dev/null || skip "namespaces for mounts and processes are not allowed here"
if [ -z "${MIRROR:-}" ]; then
    # shellcheck disable=SC2016 # these are apt's own variables
    MIRROR=$(apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        sed -n 's/^Debian main //p' | head -n 1)
fi
[ -n "$MIRROR" ] || skip "this machine's apt has no mirror of Debian; set MIRROR"

packages=$ROOTS/packages
mkdir -p "$packages" "$ROOTS/logs" || exit 1
log=$ROOTS/logs/out

# ---- A root ----

# Runs a command in the root of the release, in /src; what it prints is in $log.
inside() { # command
    unshare --mount --propagation private --pid --fork --kill-child sh -c '
        mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" &&
        mount --bind "$2" "$1/var/cache/apt/archives" &&
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            chroot "$1" sh -c "cd /src && $3"' sh "$root" "$packages" "$1" >"$log" 2>&1
}

make_root() {
    rm -rf "$root"
    if ! unshare --mount --propagation private --pid --fork --kill-child \
        debootstrap --variant=minbase --cache-dir="$packages" "$release" "$root" "$MIRROR" >"$log" 2>&1; then
        tail -n 5 "$log"
        skip "no root of $release could be made from the mirror"
    fi
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mkdir "$root/src"
    # The files of the project, without what was built.
    { git ls-files -co --exclude-standard 2>/dev/null || find . -path ./build -prune -o -type f -print; } |
        while read -r file; do [ -e "$file" ] && echo "$file"; done | tar -cf - -T - | tar -xf - -C "$root/src" --no-same-owner
}

passes() { # what command
    begin=$(date +%s)
    if inside "$2"; then
        echo "$release: $1: $(($(date +%s) - begin)) s; $(grep -E 'Need to get|passed, [0-9]+ failed' "$log" | tr '\n' ' ')"
    else
        fail "$1: $2"
        grep -v '^ok \|^  [A-Z][A-Z]* ' "$log" | tail -n 80
        return 1
    fi
}
# The compiler's warnings, and make's lines about files that it removes.
is_quiet() { # what
    if grep -nE 'warning:|^rm ' "$log"; then fail "$1: see the lines above"; fi
}
says() { # text
    grep -qF -- "$1" "$log" || {
        fail "does not say: $1"
        tail -n 20 "$log"
    }
}

# ---- The README's two commands ----

try_readme() {
    passes "./deps.sh" ./deps.sh || return
    passes "make -j" "make -j\$(nproc)" && is_quiet "make"
    passes "make check" "make check" && is_quiet "make check"
    if grep 'skipped for want of' "$log"; then fail "something is skipped although every package is there"; fi
    passes "make demo" "make demo" && is_quiet "make demo"
}

# ---- Missing packages ----

# dpkg takes away a package that others need, apt puts it back.
without() { # packages
    inside "dpkg --remove --force-depends $1" || fail "dpkg --remove $1: $(tail -n 3 "$log")"
}
back() { # packages
    inside "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $1" ||
        fail "apt-get install $1: $(tail -n 3 "$log")"
}

small() { # package what-it-says
    without "$1"
    passes "make without $1" "make -j\$(nproc) all" && is_quiet "make without $1" && says "$2"
    if inside "make all" && grep -F "$2" "$log"; then fail "what is left out is told twice"; fi
}
try_optional() {
    passes "./deps.sh" ./deps.sh || return # for whoever tries only this part
    small gnuplot-nox "Without gnuplot"
    passes "make check without gnuplot" "make check" && says test_inspect.sh
    back gnuplot-nox
    small check "Without Check"
    if inside "make check"; then fail "make check passes without Check"; fi
    says "Missing: Check [check]; ./deps.sh installs it"
    back check
    # Everything is built anew without PCRE2, and is the same without cJSON; what is left out is told when it changes.
    small libpcre2-dev "Without cJSON or PCRE2"
    back libpcre2-dev
    inside "rm build/left-out" || fail "there is no build/left-out"
    small libcjson-dev "Without cJSON or PCRE2"
    back libcjson-dev
}

# The smallest set of packages, in a root of its own state: neither MPI nor one of the optional packages.
try_serial() {
    inside "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get purge -q -y 'libopenmpi*' 'libhdf5-openmpi*' 'openmpi*' \
        gnuplot-nox libcjson-dev libpcre2-dev libutf8proc-dev; DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        gcc g++ make pkg-config libblis-openmp-dev libhdf5-dev check binutils" || fail "packages: $(tail -n 3 "$log")"
    passes "make without MPI" "make B=build/one" && is_quiet "make without MPI" && says "Without MPI"
    passes "make check without MPI" "make B=build/one check" && says "test_dist_ranks.sh"
    if inside "ldd build/one/libpalimpsest.so" && grep libmpi "$log"; then fail "the library without MPI needs MPI"; fi
    # Two processes that know nothing of each other would write the same files.
    inside "OMPI_COMM_WORLD_SIZE=2 build/one/examples/train_lm --data README.md --out /tmp/two --steps 1" &&
        fail "one of two processes trains without MPI"
    says "this library was built without MPI"
}

missing() { # names
    if inside "make -j4 B=build/none"; then fail "make passes without $1"; fi
    says "Missing: $1; ./deps.sh installs it"
    [ "$(wc -l <"$log")" = 1 ] || fail "more than a sentence: $(cat "$log")"
}
try_mandatory() {
    inside "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends make"
    for package in libblis-openmp-dev libhdf5-openmpi-dev libhdf5-dev pkg-config pkgconf gcc; do
        inside "dpkg-query -W -f '\${db:Status-Status}' $package | grep -qx installed" || continue
        without "$package"
    done
    missing "a C compiler [gcc], pkg-config [pkg-config], BLIS [libblis-openmp-dev]"
    back "pkg-config gcc"
    missing "HDF5 [libhdf5-openmpi-dev], BLIS [libblis-openmp-dev]"
}

trap 'exit 1' INT TERM
for release in $RELEASES; do
    root=$ROOTS/$release
    begin=$(date +%s)
    make_root
    echo "$release: a root of $(du -sm "$root" | cut -f 1) MB: $(($(date +%s) - begin)) s"
    for part in $PARTS; do
        since=$(date +%s)
        try_"$part"
        echo "$release: the part $part took $(($(date +%s) - since)) s"
    done
    if [ "${KEEP:-0}" = 0 ]; then rm -rf "$root"; fi
done
exit $failed
