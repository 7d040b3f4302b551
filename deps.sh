#!/bin/sh
# deps.sh - installs what the README's commands need: make, make demo and make check. Debian and Ubuntu: through
# apt-get, with sudo if you are not root; what is there already is left alone. Elsewhere it prints the packages' names.
#
# deps.sh --all installs also what make docs, make course, make format and make check-all need.
# deps.sh --arm installs what make check-arm needs (Debian and Ubuntu): a compiler for 64-bit ARM and qemu; the libraries
# of that machine are unpacked in build/arm64-root, and nothing of it is installed.
# deps.sh --corpus installs nothing: it fetches packages of documentation (Debian and Ubuntu) and
# unpacks them in build/debian-doc, from which examples/corpus.sh makes a text to train on.
set -eu

# To build and to run (gnuplot, cJSON, PCRE2, utf8proc, oneDNN and MPI are optional; the build says what it leaves out without them):
build="gcc g++ make pkg-config libblis-openmp-dev libhdf5-openmpi-dev libopenmpi-dev openmpi-bin gnuplot-nox
libcjson-dev libpcre2-dev libutf8proc-dev libdnnl-dev"
# For make check:
check="check python3 python3-h5py binutils"
# For make check-arm, only with --arm: the libraries of 64-bit ARM.
arm_root="libc6-dev libgomp1 libblis-openmp-dev libhdf5-dev check libcjson-dev libpcre2-dev libutf8proc-dev"
# For make docs, make course, make format and make check-all, only with --all:
extra="doxygen graphviz pandoc libjs-katex git clang libomp-dev clang-format-14 chromium debootstrap abigail-tools iproute2"

if ! command -v apt-get >/dev/null 2>&1; then
    cat <<'END'
This system has no apt-get. Install the equivalents of Debian's packages, then run make:

  Fedora         gcc gcc-c++ make pkgconf blis-devel hdf5-openmpi-devel openmpi-devel gnuplot
                 cjson-devel pcre2-devel utf8proc-devel onednn-devel check-devel python3-h5py doxygen graphviz pandoc git clang libomp-devel clang-tools-extra chromium
  Arch           gcc make pkgconf blis hdf5-openmpi openmpi gnuplot
                 cjson pcre2 libutf8proc onednn check python-h5py doxygen graphviz pandoc git clang openmp chromium
  openSUSE       gcc gcc-c++ make pkgconf-pkg-config blis-devel hdf5-openmpi4-devel openmpi4-devel gnuplot
                 libcjson-devel pcre2-devel utf8proc-devel oneDNN-devel check-devel python3-h5py doxygen graphviz pandoc git clang libomp-devel chromium

BLIS must be its OpenMP build, HDF5 its Open MPI build.
END
    exit 1
fi

if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo env"
else
    as_root=""
fi

# The documentation of Python under the name that has its version, and the others.
corpus_packages() {
    apt-cache depends python3-doc 2>/dev/null | sed -n 's/.*Depends: \(python3\.[0-9]*-doc\)$/\1/p'
    echo perl-doc git-doc debian-policy developers-reference debian-reference-en
}

fetch_corpus() { # FOLDER
    if ! corpus_packages | grep -q '^python3'; then
        if [ -z "$as_root" ]; then
            echo "deps.sh: the lists of packages are empty; apt-get update needs root (or sudo)" >&2
            exit 1
        fi
        $as_root apt-get update -qq
    fi
    rm -rf "$1.new"
    mkdir -p "$1.new/deb"
    # shellcheck disable=SC2046 # the list is to be split
    (cd "$1.new/deb" && apt-get download -qq -o APT::Sandbox::User=root $(corpus_packages))
    for deb in "$1.new"/deb/*.deb; do
        package=$(dpkg-deb -f "$deb" Package)
        mkdir "$1.new/$package"
        dpkg-deb -x "$deb" "$1.new/$package"
        echo "$package $(dpkg-deb -f "$deb" Version)" >>"$1.new/packages"
    done
    rm -rf "$1.new/deb" "$1"
    mv "$1.new" "$1"
    echo "deps.sh: $1 has"
    sed 's/^/  /' "$1/packages"
}

# The packages of another machine and all that they depend on, by apt with lists of its own.
fetch_arm() { # FOLDER
    rm -rf "$1.new" "$1.apt"
    mkdir -p "$1.new" "$1.apt/lists/partial" "$1.apt/archives/partial"
    : >"$1.apt/status"
    at=$(cd "$1.apt" && pwd)
    apt_arm() {
        apt-get -q -o Dir::State::status="$at/status" -o Dir::State::lists="$at/lists" -o Dir::Cache::archives="$at/archives" \
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Architecture=arm64 -o APT::Architectures::=arm64 \
            -o APT::Sandbox::User=root -o Debug::NoLocking=1 "$@"
    }
    apt_arm update
    # shellcheck disable=SC2086 # the list is to be split
    apt_arm install -y -d --no-install-recommends $arm_root
    for deb in "$at"/archives/*.deb; do dpkg-deb -x "$deb" "$1.new"; done
    # Links to /lib/... would lead out of the folder.
    find "$1.new" -type l -lname '/*' | while read -r link; do ln -sfr "$1.new$(readlink "$link")" "$link"; done
    rm -rf "$1.apt" "$1"
    mv "$1.new" "$1"
}

case ${1:-} in
"") extra="" ;;
--all) ;;
--arm)
    build="gcc-aarch64-linux-gnu qemu-user make pkg-config"
    check=""
    extra=""
    ;;
--corpus)
    fetch_corpus build/debian-doc
    exit 0
    ;;
*)
    echo "usage: deps.sh [--all | --arm | --corpus]" >&2
    exit 1
    ;;
esac

missing=""
for package in $build $check $extra; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then missing="$missing $package"; fi
done
if [ "${1:-}" = --arm ]; then fetch_arm build/arm64-root; fi
if [ -z "$missing" ]; then
    echo "deps.sh: everything is installed"
    exit 0
fi
if [ -z "$as_root" ]; then
    echo "deps.sh: needs root (or sudo) to install:$missing" >&2
    exit 1
fi
$as_root apt-get update -q
wanted=""
for package in $missing; do # a release may lack what only formatting or documentation needs
    case " $extra " in
    *" $package "*)
        if ! apt-cache show "$package" >/dev/null 2>&1; then
            echo "deps.sh: this release has no $package; what needs it will say so"
            continue
        fi
        ;;
    esac
    wanted="$wanted $package"
done
echo "deps.sh: installing$wanted"
# shellcheck disable=SC2086 # the list is to be split
$as_root DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted
