#!/bin/sh
# check_roots.sh - a newcomer's first hour: bare Debian roots made by debootstrap, in which ./deps.sh and make check run as
# root with nothing but PATH and HOME in the environment. The compiler must not warn. Then packages are taken away: without
# optional ones everything builds and says what is left out, and a missing mandatory one is one sentence. At last Debian's packages
# of the project are built there, and used in a root that has nothing else.
#
#   RELEASES="bookworm trixie"   which releases (Debian's names)
#   ROOTS=FOLDER                 where the roots and the packages go; the packages there are used again
#   KEEP=1                       leaves the roots there afterwards
#   MIRROR=URL                   instead of the mirror that this machine's apt uses
#   PARTS="mandatory readme optional serial deb"   what is tried
#
# Each command runs in namespaces of its own: what is mounted for it, and what it leaves running, ends with it.
set -u
RELEASES=${RELEASES:-bookworm trixie}
ROOTS=${ROOTS:-$(pwd)/${B:-build}/roots}
PARTS=${PARTS:-mandatory readme optional serial deb}
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

# Runs a command in the root of the release, in /src; what it prints is in $log. The root is mounted on itself, because a
# namespace of mounts is made only from a root that is a mount.
inside() { # command
    unshare --mount --propagation private --pid --fork --kill-child sh -c '
        mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" &&
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
    # Two hosts by this release's MPI and Slurm.
    back "iproute2 hostname slurmctld slurmd slurm-client munge"
    for test in hosts slurm; do
        passes "test_$test.sh" "PAL_TEST_ALL=1 sh tests/test_$test.sh" && grep -E '^note: skipped|Failures' "$log"
    done
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

# ---- Packages of the project ----

install="DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
# Files that a removed package can leave; caches and lists of packages are none of them.
left_files="find /etc /usr /var/lib -iname '*palimpsest*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*'"

try_deb() {
    inside "apt-get update -q && $install build-essential debhelper help2man lintian git ca-certificates pkg-config libblis-openmp-dev \
        libhdf5-openmpi-dev libopenmpi-dev libcjson-dev libpcre2-dev libutf8proc-dev" || fail "packages: $(tail -n 3 "$log")"
    inside "rm -rf .git && git init -q && git add -A && git -c user.name=a -c user.email=a@example.org commit -q -m sources" ||
        fail "git: $(tail -n 3 "$log")"
    passes "make deb" "DEB_BUILD_OPTIONS='nocheck parallel=$(nproc)' make deb DEB_ARGS=-Pnocheck" || return
    if grep -nE '\.[ch](:[0-9]+)+: warning:' "$log"; then fail "make deb: see the lines above"; fi # of the compiler, not of dpkg
    passes "lintian" "lintian --fail-on error --allow-root build/deb/*.changes"
    built=$root
    root=$ROOTS/$release-clean
    make_root
    cp "$built"/src/build/deb/*.deb "$root/src" || fail "there are no packages"
    inside "rm -f libpalimpsest*-dbgsym* palimpsest-dbgsym*"
    inside "$left_files" && grep -q . "$log" && fail "the clean root has files of the project"
    passes "apt-get install *.deb" "apt-get update -q && $install ./*.deb gcc g++ cmake make pkg-config"
    passes "palimpsest train" "cd /root && palimpsest train --data /src/README.md --out run --steps 5 --batch 2 --len 32 --width 32 --layers 1 &&
        palimpsest generate run/step-00000005.h5 Linear --tokens 5"
    passes "a program by pkg-config" "cd /root && gcc -o mlp /src/examples/02_mlp.c \$(pkg-config --cflags --libs palimpsest) -lm && ./mlp"
    passes "a program by CMake" "mkdir -p /root/cmake && cd /root/cmake && cp /src/examples/02_mlp.c . && printf '%s\n' \
        'cmake_minimum_required(VERSION 3.13)' 'project(user C)' 'find_package(palimpsest 0.1 REQUIRED)' 'add_executable(mlp 02_mlp.c)' \
        'target_link_libraries(mlp palimpsest::palimpsest m)' >CMakeLists.txt && cmake -S . -B build && cmake --build build && build/mlp"
    passes "apt-get purge" "DEBIAN_FRONTEND=noninteractive apt-get purge -q -y palimpsest libpalimpsest0 libpalimpsest-dev"
    inside "$left_files" && grep . "$log" && fail "the packages leave files behind"
    if [ "${KEEP:-0}" = 0 ]; then rm -rf "$root"; fi
    root=$built
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
