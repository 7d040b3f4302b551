#!/bin/sh
# deps.sh - installs what building and testing need. Debian and Ubuntu: through apt-get, with sudo if
# you are not root; what is there already is left alone. Elsewhere it prints the packages' names.
set -eu

# To build and to run:
build="gcc g++ make pkg-config libblis-openmp-dev libhdf5-openmpi-dev libopenmpi-dev openmpi-bin gnuplot-nox"
# For make check:
check="check libcjson-dev python3 python3-h5py binutils"
# For make docs, make format and make check-all:
extra="doxygen graphviz git clang libomp-dev clang-format-14"

if ! command -v apt-get >/dev/null 2>&1; then
    cat <<'END'
This system has no apt-get. Install the equivalents of Debian's packages, then run make:

  Fedora         gcc gcc-c++ make pkgconf blis-devel hdf5-openmpi-devel openmpi-devel gnuplot
                 check-devel cjson-devel python3-h5py doxygen graphviz git clang libomp-devel clang-tools-extra
  Arch           gcc make pkgconf blis hdf5-openmpi openmpi gnuplot
                 check cjson python-h5py doxygen graphviz git clang openmp
  openSUSE       gcc gcc-c++ make pkgconf-pkg-config blis-devel hdf5-openmpi4-devel openmpi4-devel gnuplot
                 check-devel libcjson-devel python3-h5py doxygen graphviz git clang libomp-devel

BLIS must be its OpenMP build, HDF5 its Open MPI build.
END
    exit 1
fi

missing=""
for package in $build $check $extra; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then missing="$missing $package"; fi
done
if [ -z "$missing" ]; then
    echo "deps.sh: everything is installed"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root="env"
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo env"
else
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
