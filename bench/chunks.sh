#!/bin/sh
# chunks.sh - speed by chunk size: what bench/rules measures, as a plot.
#
#     sh bench/chunks.sh OUT [flags of bench/rules]
#
# Leaves OUT/chunks.csv (bench/rules --csv), OUT/chunks.txt (its table) and OUT/chunks.svg. Unlike a study of ablate this
# is a measurement of time: it wants the machine for itself, and another machine has other numbers.
set -eu
LC_ALL=C # awk and sort read and write numbers
export LC_ALL
B=${B:-build}
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
out=$1
shift
mkdir -p "$out"
command -v gnuplot >/dev/null || { echo "chunks.sh: gnuplot is not installed" >&2; exit 1; }
[ $# -gt 0 ] || set -- -B 1 -T 2048 -H 8 -K 64 -V 64 --runs 11
"$B/bench/rules" --rule gdn2,kda,gdn,mamba2 --mode chunk --direction forward,forward+backward --threads 1 \
    --chunk 16,32,48,64,96,128 "$@" --csv "$out/chunks.csv.tmp" >"$out/chunks.txt.tmp" ||
    { cat "$out/chunks.txt.tmp" >&2; exit 1; }
mv "$out/chunks.csv.tmp" "$out/chunks.csv"
mv "$out/chunks.txt.tmp" "$out/chunks.txt"

# The number of a column; its name is in the first line that is no comment.
column() {
    awk -F, -v name="$1" '/^#/ { next } { for (i = 1; i <= NF; i++) if ($i == name) at = i; exit }
        END { if (at) print at; exit !at }' "$out/chunks.csv" ||
        { echo "chunks.sh: chunks.csv has no column $1" >&2; exit 1; }
}
rule=$(column rule)
direction=$(column direction)
chunk=$(column chunk)
ns=$(column ns)

# Two panels; a rule has one colour in both.
LC_ALL=C.UTF-8 gnuplot -d <<END
set terminal svg size 860,400 font 'sans-serif,13' background 'white' noenhanced
set output '$out/chunks.svg.tmp'
set datafile separator ','
set datafile commentschars '#'
set border 3
set tics nomirror
set grid ytics lc rgb '#dddddd'
set xlabel 'tokens of a chunk'
set logscale x 2
set xtics (16, 32, 48, 64, 96, 128)
set yrange [0:]
rows(rule, way) = sprintf("< awk -F, '\$$rule == \"%s\" && \$$direction == \"%s\"' '$out/chunks.csv'", rule, way)
set multiplot layout 1,2
do for [way in 'forward forward+backward'] {
    set title way
    set ylabel 'ns a token and head'
    set key top left Left reverse
    plot for [i = 1:4] rows(word('gdn2 kda gdn mamba2', i), way) using $chunk:$ns \
        with linespoints lw 2 pt 7 ps 0.6 lc rgb word('#1f77b4 #d62728 #2ca02c #ff7f0e', i) \
        title word('gdn2 kda gdn mamba2', i)
}
unset multiplot
END
mv "$out/chunks.svg.tmp" "$out/chunks.svg"
cat "$out/chunks.txt"
