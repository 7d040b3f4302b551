#!/bin/sh
# deps.sh - installs what the README's commands need: make, make demo and make check. Debian and Ubuntu: through
# apt-get, with sudo if you are not root; what is there already is left alone. Elsewhere it prints the packages' names.
#
# deps.sh --all installs also what make docs, make format and make check-all need.
# deps.sh --corpus installs nothing: it fetches packages of documentation (Debian and Ubuntu) and
# unpacks them in build/debian-doc, from which examples/corpus.sh makes a text to train on.
set -eu

# To build and to run (gnuplot, cJSON, PCRE2, utf8proc, oneDNN and MPI are optional; the build says what it leaves out without them):
build="gcc g++ make pkg-config libblis-openmp-dev libhdf5-openmpi-dev libopenmpi-dev openmpi-bin gnuplot-nox
libcjson-dev libpcre2-dev libutf8proc-dev libdnnl-dev"
# For make check:
check="check python3 python3-h5py binutils"
# For make docs, make format and make check-all, only with --all:
extra="doxygen graphviz git clang libomp-dev clang-format-14 chromium debootstrap"

if ! command -v apt-get >/dev/null 2>&1; then
    cat <<'END'
This system has no apt-get. Install the equivalents of Debian's packages, then run make:

  Fedora         gcc gcc-c++ make pkgconf blis-devel hdf5-openmpi-devel openmpi-devel gnuplot
                 cjson-devel pcre2-devel utf8proc-devel onednn-devel check-devel python3-h5py doxygen graphviz git clang libomp-devel clang-tools-extra chromium
  Arch           gcc make pkgconf blis hdf5-openmpi openmpi gnuplot
                 cjson pcre2 libutf8proc onednn check python-h5py doxygen graphviz git clang openmp chromium
  openSUSE       gcc gcc-c++ make pkgconf-pkg-config blis-devel hdf5-openmpi4-devel openmpi4-devel gnuplot
                 libcjson-devel pcre2-devel utf8proc-devel oneDNN-devel check-devel python3-h5py doxygen graphviz git clang libomp-devel chromium

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

case ${1:-} in
"") extra="" ;;
--all) ;;
--corpus)
    fetch_corpus build/debian-doc
    exit 0
    ;;
*)
    echo "usage: deps.sh [--all | --corpus]" >&2
    exit 1
    ;;
esac

missing=""
for package in $build $check $extra; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then missing="$missing $package"; fi
done
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
