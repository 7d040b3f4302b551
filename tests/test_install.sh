#!/bin/sh
# test_install.sh - the library as a stranger meets it: installed under a prefix, found by pkg-config,
# used by a C and a C++ program outside the tree, through the shared and the static library.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}

# y = 2 x0 - 3 x1 + 1, learnt from 64 points. The text is C and C++.
cat >"$dir/linear.c" <<'END'
#include <palimpsest.h>
#include <math.h>

int main(void)
{
    pal_rng rng = pal_rng_new(1, 0);
    pal_params *params = pal_params_new();
    pal_tensor w = pal_param(params, "w", PAL_F32, PAL_SHAPE(2, 1));
    pal_tensor b = pal_param(params, "b", PAL_F32, PAL_SHAPE(1));
    pal_adamw_opts opts = {};
    pal_optim *adamw = pal_adamw_new(params, opts);
    pal_tape *tape = pal_tape_new();
    const float truth[] = {2, -3};
    double loss = 1;
    for (int step = 0; step < 400; step++) {
        pal_tensor x = pal_normal(tape, PAL_F32, PAL_SHAPE(64, 2), 0, 1, &rng);
        pal_tensor y = pal_affine(pal_matmul(x, pal_from(tape, PAL_F32, PAL_SHAPE(2, 1), truth)), 1, 1);
        pal_tensor guess = pal_add(pal_matmul(x, w), b);
        pal_tensor error = pal_mean(pal_square(pal_sub(guess, y)), PAL_ALL, false);
        pal_backward(error);
        pal_clip_grad_norm(params, 0);
        pal_optim_step(adamw, 0.05);
        pal_params_zero_grad(params);
        loss = pal_item(error);
        pal_tape_reset(tape);
    }
    const float *got = pal_f32(w);
    printf("w %.4f %.4f b %.4f loss %.2g\n", (double)got[0], (double)got[1], pal_item(b), loss);
    pal_tape_free(tape);
    pal_optim_free(adamw);
    pal_params_free(params);
    return loss < 1e-4 ? 0 : 1;
}
END
cp "$dir/linear.c" "$dir/linear.cc"
# The loop of docs/training.md; what it does is that of the parts it calls.
awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' docs/training.md >"$dir/loop.c"

# The program that the README shows.
awk '/^    #include <palimpsest.h>$/ { on = 1 } on { print substr($0, 5) } on && /^    }$/ { exit }' README.md >"$dir/readme.c"

# Its commands for a PREFIX of one's own, from make install to the program. Sanitizers need options that they do not have.
tree=$(pwd)
awk '/^    make .*PREFIX=\$HOME/ { on = 1 } on && !/^    / { exit } on' README.md >"$dir/prefix.sh"
[ "$(wc -l <"$dir/prefix.sh")" = 5 ] || fail "README.md: other commands: $(cat "$dir/prefix.sh")"
if [ -z "${SAN:-}" ]; then
    mkdir "$dir/home"
    cp "$dir/readme.c" "$dir/home/linear.c"
    cat >"$dir/run.sh" <<'END'
set -e
make() { (cd "$1" && shift && command "${MAKE:-make}" "$@"); }
END
    sed "s|make -j|make '$tree' B='$B'|" "$dir/prefix.sh" >>"$dir/run.sh"
    (cd "$dir/home" && HOME=$dir/home PKG_CONFIG_PATH='' LD_LIBRARY_PATH='' sh "$dir/run.sh") >"$dir/log" 2>&1 ||
        fail "README.md, a PREFIX of one's own: $(cat "$dir/log")"
    grep -q '^step 400 loss' "$dir/log" || fail "README.md, a PREFIX of one's own: $(cat "$dir/log")"
    ln -s home/palimpsest "$dir/usr" # what was installed there is tried in the rest of this test
else
    ${MAKE:-make} B="$B" PREFIX="$dir/usr" install >"$dir/log" 2>&1 || fail "make install: $(cat "$dir/log")"
fi
found=$(cd "$dir/usr/include/palimpsest" && find . -type f | sort | tr '\n' ' ')
[ "$found" = "./autograd/autograd.h ./autograd/ops.h ./autograd/params.h ./layers/blocks.h ./layers/kernel.h ./layers/layers.h \
./layers/mixers.h ./layers/model.h ./layers/modules.h ./layers/own.h ./layers/probe.h ./layers/rules.h ./optim/data.h ./optim/dist.h ./optim/optim.h ./optim/train.h \
./palimpsest.h ./tensor/comm.h ./tensor/key.h ./tensor/tensor.h ./tensor/text.h " ] ||
    fail "installed headers: $found"

PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
LD_LIBRARY_PATH=$dir/usr/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PKG_CONFIG_PATH LD_LIBRARY_PATH
cd "$dir" || exit 1

try() { # name command...
    name=$1
    shift
    if "$@" -o "$name" >log 2>&1; then
        if [ -s log ]; then fail "$name: warnings: $(cat log)"; fi
        "./$name" >log 2>&1 || fail "$name: $(cat log)"
        echo "$name: $(cat log)"
    else
        fail "$name: $* : $(cat log)"
    fi
}
flags=$(pkg-config --cflags --libs palimpsest) || fail "pkg-config does not find palimpsest"
static=$(pkg-config --static --cflags --libs palimpsest)
sanitize=${SAN:+-fsanitize=$SAN}
# shellcheck disable=SC2086 # the flags are to be split
{
    try linear_c ${CC:-gcc} -Wall -Wextra $sanitize linear.c $flags
    if ! ${CC:-gcc} -std=c11 -Wall -Wextra -Wconversion $sanitize loop.c $flags -o loop >log 2>&1 || [ -s log ]; then
        fail "docs/training.md: $(cat log)"
    fi
    try readme ${CC:-gcc} -std=c11 -Wall -Wextra -Wconversion $sanitize readme.c $flags
    awk '$1 == "step" { n++; loss = $4 } END { exit n != 4 || loss == "" || loss > 1e-3 }' log || fail "README.md: $(cat log)"
    try linear_cxx ${CXX:-g++} -Wall -Wextra -pedantic -std=c++11 $sanitize linear.cc $flags
    mkdir aside
    mv usr/lib/libpalimpsest.so* aside
    try linear_static ${CC:-gcc} -Wall -Wextra $sanitize linear.c $static
    mv aside/* usr/lib
}

# Programs, by the one command that is on the path.
if [ -z "${SAN:-}" ]; then
    "$dir/usr/bin/palimpsest" train --config "$dir/usr/share/palimpsest/configs/demo.txt" --data "$tree/README.md" --out run --steps 2 \
        --width 32 --layers 1 >log 2>&1 || fail "palimpsest train: $(cat log)"
    "$dir/usr/bin/palimpsest" generate run/step-00000002.h5 "Linear" --tokens 4 >log 2>&1 || fail "palimpsest generate: $(cat log)"
    "$dir/usr/bin/palimpsest" convert --help >log 2>&1 || fail "palimpsest convert: $(cat log)"
    "$dir/usr/bin/palimpsest" nothing >log 2>&1 && fail "palimpsest nothing: status 0"
    grep -q "^palimpsest: there is no command 'nothing'" log || fail "palimpsest nothing: $(cat log)"
    for command in train generate tokenize inspect ablate check; do
        [ "$("$dir/usr/bin/palimpsest" $command --version)" = "palimpsest $(pkg-config --modversion palimpsest)" ] ||
            fail "palimpsest $command --version: $("$dir/usr/bin/palimpsest" $command --version 2>&1)"
        grep -q "[\" ]$command " "$dir/usr/share/bash-completion/completions/palimpsest" ||
            fail "the completion does not know $command"
    done
fi

# A project of CMake, C and C++, without --allow of anything that pkg-config would have had to say.
case " $(pkg-config --cflags palimpsest) " in *hdf5* | *mpi*) fail "the flags name other libraries' folders: $(pkg-config --cflags palimpsest)" ;; esac
if command -v cmake >/dev/null 2>&1; then
    mkdir found
    cat >found/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.13)
project(found NONE)
find_package(palimpsest ${WANTED} REQUIRED)
foreach(target palimpsest::palimpsest palimpsest::static)
  get_target_property(file ${target} IMPORTED_LOCATION)
  get_target_property(include ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(NOT EXISTS ${file} OR NOT EXISTS ${include}/palimpsest.h)
    message(FATAL_ERROR "${target}: ${file}, ${include}")
  endif()
endforeach()
END
    cmake -S found -B found1 -DWANTED=0.1 -DCMAKE_PREFIX_PATH="$dir/usr" >log 2>&1 || fail "CMake: $(cat log)"
    cmake -S found -B found2 -DWANTED=99 -DCMAKE_PREFIX_PATH="$dir/usr" >log 2>&1 && fail "CMake takes version 99"
    grep -q 'requested version "99"' log || fail "CMake, version 99: $(cat log)"
fi
if [ "${PAL_TEST_ALL:-0}" = 1 ] && command -v cmake >/dev/null 2>&1 && [ -z "$sanitize" ]; then
    cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.13)
project(linear C CXX)
find_package(palimpsest 0.1 REQUIRED)
add_executable(c_shared linear.c)
target_link_libraries(c_shared palimpsest::palimpsest m)
add_executable(cxx_shared linear.cc)
target_link_libraries(cxx_shared palimpsest::palimpsest)
add_executable(c_static linear.c)
target_link_libraries(c_static palimpsest::static)
END
    if cmake -S . -B cmake -DCMAKE_PREFIX_PATH="$dir/usr" >log 2>&1 && cmake --build cmake >>log 2>&1; then
        for program in c_shared cxx_shared c_static; do cmake/$program >log 2>&1 || fail "CMake, $program: $(cat log)"; done
    else
        fail "CMake: $(cat log)"
    fi
else
    echo "note: CMake builds programs with PAL_TEST_ALL=1, where it is installed, and without a sanitizer"
fi

# A new HDF5 of the system serves installed programs, too.
for program in train_lm check; do
    ldd "$dir/usr/libexec/palimpsest/$program" | grep -q libhdf5 || fail "$program carries a HDF5 of its own"
done

cd - >/dev/null || exit 1
${MAKE:-make} B="$B" PREFIX="$dir/usr" uninstall >"$dir/log" 2>&1 || fail "make uninstall"
left=$(find "$dir/usr/" -type f -o -type l)
[ -z "$left" ] || fail "uninstall left $left"
exit $failed
