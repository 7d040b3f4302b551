# speed.gp - tokens a second of a training step, by this library and by PyTorch, as multiples of PyTorch's in f32.
#
#     gnuplot -d -c docs/figures/speed.gp DATA PICTURE.svg
#
# A row of DATA: a label in quotation marks, then ours in f32 and bf16, and PyTorch's in f32 and bf16 (make figure-speed
# takes them from the table of docs/performance.md).
set terminal svg size 820,360 font "sans-serif,13" background "#ffffff"
set output ARG2
set encoding utf8
set datafile missing "?"
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 0.9
set boxwidth 0.9
set border 3
set tics nomirror
set grid ytics lc "#dddddd"
set yrange [0:*]
set ylabel "tokens a second (PyTorch in f32: 1)"
set bmargin 4
set key outside right top Left reverse
set title "A whole training step of a GDN-2 model: more is better"
plot ARG1 using ($3/$4):xtic(1) title "Palimpsest, bf16" lc "#08306b", \
     "" using ($2/$4) title "Palimpsest, f32" lc "#4292c6", \
     "" using ($5/$4) title "PyTorch, bf16" lc "#7f2704", \
     "" using ($4/$4) title "PyTorch, f32" lc "#fd8d3c"
