#!/bin/sh
# test_plots.sh - the plots of every program are the same whatever the user has set for gnuplot, and without a locale or a
# home; gnuplot has nothing to say about them; without gnuplot each program says so in one sentence.
set -u
B=${B:-build}
command -v gnuplot >/dev/null || {
    echo "note: gnuplot is missing: no plots of programs are tried"
    exit 0
}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0

fail() {
    echo "FAIL: $*"
    failed=1
}

seq -f 'line %g of a small text' 400 >"$dir/text"
printf 'value b 0\nwrite a b\nread a\n' >"$dir/empty" # a memory that stays empty
cat >"$dir/study" <<'END'
task = mqar:vocab=16:len=12:pairs=2
layers = 1
width = 16
steps = 2
batch = 4
rows = 8
every = 1
variant.gdn-8 = gdn:num_heads=1:head_dim=8
variant.gdn-16 = gdn:num_heads=1:head_dim=16
END
OMP_NUM_THREADS=1 "$B/examples/recall" --vocab 16 --len 12 --pairs 2 --mixers gdn2:num_heads=1:head_dim=8 --layers 1 \
    --width 16 --batch 4 --steps 1 --rows 8 --threads 1 --out "$dir/model" >"$dir/model.txt" 2>&1 || fail "$(cat "$dir/model.txt")"

# Every plot there is, in the folder $dir/NAME, by programs in the environment that follows.
draw() { # NAME PATH environment...
    name=$1 path=$2
    shift 2
    mkdir "$dir/$name"
    while read -r command; do
        # shellcheck disable=SC2086 # the words of a command
        env -i PATH="$path" LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" LSAN_OPTIONS="${LSAN_OPTIONS:-}" OMP_NUM_THREADS=1 "$@" \
            $command >>"$dir/$name/said" 2>&1 || [ "$name" = bare ] || fail "$name: $command: $(tail -n 5 "$dir/$name/said")"
    done <<END
$B/examples/train_lm --data $dir/text --layers 1 --width 16 --len 16 --batch 2 --sample 0 --steps 3 --held-out 0.1 --eval-every 2 --out $dir/$name/train
$B/examples/inspect --rule gdn2 --script $dir/empty --out $dir/$name/empty
$B/examples/inspect --demo --out $dir/$name/inspect
$B/examples/ablate $dir/study --out $dir/$name/study
$B/examples/ablate --layers $dir/model/model.h5 --rows 8 --out $dir/$name/layers
END
}
plots() { (cd "$dir/$1" && find . -name '*.svg' -o -name '*.png' | LC_ALL=C sort); }

draw plain "$PATH" HOME=/nonexistent
[ "$(plots plain | wc -l)" = 22 ] || fail "not 22 plots: $(plots plain)"
if grep -i 'warning\|gnuplot\|iconv' "$dir/plain/said"; then fail "gnuplot has something to say"; fi

# Marks of two variants are beside each other, and in the middle of them is the level's tic. The last mark is the key's.
awk '
    /text-anchor="middle"/ && match($0, /M[0-9.]+,[0-9.]+ L[0-9.]+,/) {
        split(substr($0, RSTART + 1, RLENGTH - 1), at, /[, L]+/)
        if (at[1] == at[3]) tic[++tics] = at[1]
    }
    /<g id="gnuplot_plot_[0-9]/ { marks = 0 }
    /<use .*gpPt.*scale/ && match($0, /translate[(][0-9.]+/) {
        x = substr($0, RSTART + 10, RLENGTH - 10)
        if (++marks == 1) { if (x == place) bad = 1; place = x; sum += x; curves++ }
    }
    END { exit bad || tics != 1 || curves != 2 || (sum / curves - tic[1]) ^ 2 > 1 }' "$dir/plain/study/accuracy-mqar.svg" ||
    fail "accuracy-mqar.svg: marks are not around their level"

mkdir "$dir/home"
printf 'set xrange [0:1]\nset logscale y\nset title "mine"\nset decimalsign ","\n' >"$dir/home/.gnuplot"
draw set "$PATH" HOME="$dir/home" GNUTERM=x11 LANG=de_DE.UTF-8 LC_ALL=tr_TR GNUPLOT_LIB="$dir/home"
[ "$(plots set)" = "$(plots plain)" ] || fail "with settings of the user: $(plots set)"
for f in $(plots plain); do
    cmp -s "$dir/plain/$f" "$dir/set/$f" || fail "$f is another with settings of the user"
done

# No gnuplot on the PATH. inspect was told to draw, and fails at the end.
draw bare /nonexistent HOME=/nonexistent
[ -z "$(plots bare)" ] || fail "plots without gnuplot: $(plots bare)"
[ "$(grep -c 'gnuplot is not installed: no plots' "$dir/bare/said")" = 5 ] ||
    fail "not one sentence of each program: $(grep gnuplot "$dir/bare/said")"

# A gnuplot that says nothing and makes nothing.
mkdir "$dir/none" && printf '#!/bin/sh\n' >"$dir/none/gnuplot" && chmod 755 "$dir/none/gnuplot"
PATH=$dir/none:$PATH OMP_NUM_THREADS=1 "$B/examples/inspect" --demo --out "$dir/none/out" >"$dir/none/said" 2>&1
[ $? = 1 ] && grep -q 'none/out: gnuplot ended, and has not made state-0-0.svg' "$dir/none/said" || fail "no plots: $(tail -n 2 "$dir/none/said")"

[ $failed = 0 ] && echo "plots are what the programs say"
exit $failed
