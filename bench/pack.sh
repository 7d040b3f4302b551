#!/bin/sh
# pack.sh - programs of build/ for a machine without compiler and packages.
#
#     sh bench/pack.sh OUT.tar.xz [FILE...]
#
# Without FILE it packs bench/step, bench/rules, bench/generate, train_lm, recall and tokenize. A program becomes
# pack/PATH, a short script that starts the stripped one by the dynamic linker and the libraries in pack/lib, so the other
# machine's own do not matter. oneDNN (libdnnl.so.2 or .3 and what it needs) is among them where this machine has it. A
# FILE that is no program of build/ is copied as it is. The scripts of bench/ are there too. There:
#
#     tar xf OUT.tar.xz && cd pack && python3 bench/torch/lm.py --step build/bench/step --threads 16
set -eu
B=${B:-build}
[ $# -ge 1 ] || { sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
out=$1
shift
[ $# -gt 0 ] || set -- "$B/bench/step" "$B/bench/rules" "$B/bench/generate" "$B/examples/train_lm" "$B/examples/recall" \
    "$B/examples/tokenize"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
lib=$work/pack/lib
mkdir -p "$lib" "$work/pack/bench/torch"

libraries() { # of programs: the files of libraries, the dynamic linker among them
    ldd "$@" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p' | sort -u
}
# The kernels' library is chosen at run time.
dnnl=$(ldconfig -p 2>/dev/null | sed -n 's/.*libdnnl\.so\.[0-9.]* .* => //p' | sort | tail -n 1)
linker=
start() { # the script NAME that starts lib/PROGRAM, from a folder so many levels below pack
    cat >"$work/pack/$1" <<END
#!/bin/sh
top=\$(cd "\$(dirname "\$0")/$3" && pwd)
exec "\$top/lib/$linker" --library-path "\$top/lib" "\$top/lib/$2" "\$@"
END
    chmod +x "$work/pack/$1"
}
for file in "$@" "$B/examples/check"; do
    case $file in
    "$B"/*) ;;
    *)
        mkdir -p "$work/pack/$(dirname "$file")"
        cp "$file" "$work/pack/$file"
        continue
        ;;
    esac
    name=build/${file#"$B"/}
    mkdir -p "$work/pack/$(dirname "$name")" "$lib/$(dirname "$name")"
    strip -o "$lib/$name" "$file"
    # shellcheck disable=SC2086 # dnnl is one file or nothing
    for l in $(libraries "$file" $dnnl) $dnnl; do
        [ -e "$lib/$(basename "$l")" ] || cp -L "$l" "$lib/"
        case $l in */ld-linux*) linker=$(basename "$l") ;; esac
    done
    start "$name" "$name" ../..
done
# A program looks for `check` beside what the system has started, which is the dynamic linker.
start lib/check build/examples/check ..
cp bench/*.sh "$work/pack/bench/"
cp bench/torch/*.py "$work/pack/bench/torch/"
tar -C "$work" -cf - pack | xz -T0 -3 >"$out"
ls -l "$out"
