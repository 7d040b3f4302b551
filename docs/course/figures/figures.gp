# figures.gp - draws the figures of the course from NN.dat, which the programs of the pages print: `make figure-course`.
#
#     gnuplot -c figures.gp 01      the figures of a page, from the folder of this file
page = ARG1
points(name) = sprintf("< awk '$1 == \"@%s\"' %s.dat", name, page)
only(name, column, value) = sprintf("< awk '$1 == \"@%s\" && $%d == \"%s\"' %s.dat", name, column, value, page)
set terminal svg size 720,340 font "DejaVu Sans,13" background "#ffffff"
set style line 1 lc rgb "#0b5cad" lw 2.5 pt 7 ps 0.6
set style line 2 lc rgb "#b5440a" lw 2.5 pt 5 ps 0.6
set style line 3 lc rgb "#2b6a1f" lw 2.5 pt 9 ps 0.7
set style line 4 lc rgb "#8a1c7c" lw 2.5 pt 11 ps 0.7
set style line 5 lc rgb "#5a6470" lw 2.5 pt 13 ps 0.7
set style increment user
set style line 9 lc rgb "#d3d9e0" lw 1
set grid ls 9
set border 3 lc rgb "#5a6470"
set tics nomirror
set key left top reverse Left samplen 2
warm = "defined (-1 '#2166ac', -0.5 '#92c5de', 0 '#ffffff', 0.5 '#f4a582', 1 '#b2182b')"
draw(name) = sprintf("%s-%s.svg", page, name)

if (page eq "01") {
    set output draw("full")
    set logscale x 2; set xlabel "stored pairs n (a memory of width 16)"; set ylabel "relative error of reading"
    plot points("full") using 2:4 with lines ls 5 dt 2 title "sqrt((n - 1)/K)", "" using 2:3 with points ls 1 ps 1.2 title "measured"
    unset logscale
    set output draw("state")
    set multiplot layout 1,3; unset key; set palette @warm; set cbrange [-2:2]; unset colorbox; unset grid
    set yrange [15.5:-0.5]; set xrange [-0.5:7.5]; set xlabel "value channel"; set ylabel "key channel"; set size ratio 1.6
    do for [n in "1 4 16"] { set title n.(n eq "1" ? " pair" : " pairs"); plot only("state", 2, n) using 4:3:5 with image }
    unset multiplot
}
if (page eq "02") {
    set output draw("signal")
    set xlabel "age in tokens"; set ylabel "signal, and noise (dotted)"; set yrange [0:1.8]; set key outside right
    plot for [h in "4 16 64 256"] only("signal", 2, h) using 3:4 with lines title "half-life ".h, \
        for [i = 1:4] only("signal", 2, word("4 16 64 256", i)) using 3:5 with lines ls i dt 3 notitle
    set output draw("decay")
    set multiplot layout 1,3; unset key; set palette defined (0 "#ffffff", 1 "#0b5cad"); set cbrange [0:1]; unset colorbox; unset grid
    set yrange [15.5:-0.5]; set xrange [-0.5:15.5]; set xlabel "written at s"; set ylabel "read at t"; set size ratio 1
    do for [i = 0:2] { set title word('"no decay" "g=-0.3" "a reset before 8"', i + 1); plot only("decay", 2, sprintf("%d", i)) using 4:3:5 with image }
    unset multiplot
}
if (page eq "03") {
    set output draw("passes")
    set logscale x 2; set xlabel "pairs n (a memory of width 16)"; set ylabel "relative error of reading"
    plot points("passes") using 2:3 with linespoints ls 5 title "adding", "" using 2:4 with linespoints ls 1 title "delta rule, 1 pass", \
        "" using 2:5 with linespoints ls 2 title "2 passes", "" using 2:6 with linespoints ls 3 title "10 passes"
    set output draw("stable")
    set logscale xy 10; set xlabel "tokens with the same key"; set ylabel "row of the key (below 1e-3: shown there)"; set yrange [1e-3:1e5]; set key left top
    plot for [b in "0.50 1.00 2.00 2.01"] only("stable", 2, b) using 3:($4 > 1e-3 ? $4 : 1e-3) with linespoints title "beta ".b
}
if (page eq "04") {
    set output draw("tasks")
    set style data histogram; set style histogram clustered gap 1; set style fill solid 0.9 noborder; set boxwidth 0.9
    set ylabel "relative error of reading"; set yrange [0:2]; set key outside top center horizontal; set xtics ("adding" 0, "decay (Mamba-2)" 1, "DeltaNet" 2, "Gated DeltaNet" 3)
    plot points("tasks") using 3 ls 1 title "a new topic", "" using 4 ls 2 title "changes", "" using 5 ls 3 title "not there"
    set output draw("half")
    set style data lines; set xtics auto; set yrange [*:*]; set logscale y; set key right top; set xlabel "f + dt\\_bias"; set ylabel "half-life in tokens"
    plot for [a in "0.5 1.0 4.0 16.0"] only("half", 2, a) using 3:4 with lines title "exp(A\\_log) = ".a
}
if (page eq "05") {
    set output draw("scenes")
    set xlabel "-g at the first token of a scene"; set ylabel "error"; set logscale x; set key center right; set yrange [-0.05:1.1]
    plot only("scenes", 2, "0") using ($3 > 0 ? $3 : 0.01):4 with linespoints ls 1 title "lasting facts, by head", "" using ($3 > 0 ? $3 : 0.01):5 with linespoints ls 1 dt 2 title "old scenes, by head", \
        only("scenes", 2, "1") using ($3 > 0 ? $3 : 0.01):4 with linespoints ls 2 title "lasting facts, by channel", "" using ($3 > 0 ? $3 : 0.01):5 with linespoints ls 2 dt 2 title "old scenes, by channel"
    set output draw("fade")
    unset logscale; set xlabel "tokens"; set ylabel "what is left"; set yrange [0:1]; set key outside right
    plot for [c = 0:7] only("fade", 2, sprintf("%d", c)) using 3:4 with lines lw 2 lc rgb sprintf("#%02x5c%02x", 20 + 28 * c, 200 - 22 * c) title sprintf("channel %d", c)
}
if (page eq "06") {
    set output draw("learn")
    set xlabel "step of training"; set ylabel "error of the total"; set yrange [0:*]; set key center right
    plot for [i = 1:4] only("learn", 2, word("1 3 18 21", i)) using 3:5 with lines title word('"one gate" "two gates a head" "b by channel" "b and w by channel"', i)
    set output draw("gate")
    set style fill solid 0.9 noborder; set boxwidth 0.7; unset key; set xlabel "key channel: 0 to 7 of the accounts, 8 common to all"; set ylabel "erase gate b found"; set yrange [0:2.2]
    plot points("gate") using 2:3 with boxes ls 1
}
if (page eq "07") {
    set output draw("cost")
    set logscale x 2; set logscale y 10; set xlabel "tokens of a chunk"; set ylabel "products a token"; set y2label "steps in a row"; set y2tics; set logscale y2 10; set key center top
    plot points("cost") using 2:3 with linespoints ls 1 title "products a token", "" using 2:4 axes x1y2 with linespoints ls 2 title "steps in a row (right)"
    unset logscale; unset y2tics; unset y2label
    set output draw("pairs")
    unset key; set palette @warm; set cbrange [-0.5:0.5]; unset grid; set yrange [15.5:-0.5]; set xrange [-0.5:15.5]; set xlabel "earlier token s"; set ylabel "token r"; set size ratio 1
    plot points("pairs") using 3:2:4 with image
}
if (page eq "08") {
    set output draw("decay")
    set xlabel "token of the chunk"; set ylabel "gradient of g, channel 0"
    plot points("decay") using 2:4 with lines ls 5 title "the library", "" using 2:3 with points ls 1 ps 1.1 title "by hand"
    set output draw("quotient")
    set logscale y; set format y "10^{%T}"; set xlabel "step h = 10^{-n}: n"; set ylabel "relative error"; unset key
    plot points("~quotient") using 2:($3 > 0 ? $3 : 1e-16) with linespoints ls 2
}
if (page eq "09") {
    set output draw("gradient")
    set logscale xy; set format y "10^{%T}"; set xlabel "-g at each token"; set ylabel "relative error of dg in float32"; set yrange [1e-8:1e4]
    plot points("~gradient") using 2:3 with linespoints ls 2 title "the usual form (4)", "" using 2:4 with linespoints ls 1 title "the sum of paths"
    set output draw("overflow")
    unset logscale x; set xlabel "token, g = -20"; set ylabel "size in float32"; set yrange [1e-50:1e50]; set xrange [0.5:6.5]
    plot points("overflow") using 2:3 with linespoints ls 1 title "exp(G), which ends in 0", "" using 2:4 with linespoints ls 2 title "exp(-G), which ends in infinity"
}
if (page eq "10") {
    set output draw("age")
    set logscale x 2; set xlabel "tokens ago (0 is shown at 1)"; set ylabel "relative error of reading"; set key left top; set yrange [0:2.2]
    plot for [i = 3:6] points("age") using ($2 > 0 ? $2 : 1):i with linespoints title word('"delta rule" "with half-life 16" "window of 16" "full attention"', i - 2)
    set output draw("kept")
    set logscale y 10; set yrange [*:*]; set xlabel "tokens so far"; set ylabel "numbers kept"
    plot for [i = 0:2] only("kept", 2, sprintf("%d", i)) using 3:4 with linespoints title word('"gdn2" "swa, window of 64" "attn"', i + 1)
}
if (page eq "11") {
    set output draw("order")
    set logscale xy; set format y "10^{%T}"; set xlabel "step dt"; set ylabel "error of the state at t = 8"
    plot points("order") using 2:3 with linespoints ls 2 title "lam = 1 (Mamba-2)", "" using 2:4 with linespoints ls 1 title "lam = 1/2", "" using 2:($2*0.5) with lines ls 5 dt 2 title "dt/2", "" using 2:($2**2*0.07) with lines ls 5 dt 3 title "0.07 dt^2"
    unset logscale; set format y "%g"
    set output draw("count")
    set xlabel "token"; set ylabel "what is read"; set yrange [-1.1:1.1]; set key outside right
    plot points("count") using 2:3 with linespoints ls 1 title "turn of pi", "" using 2:4 with linespoints ls 2 title "turn of 2 pi/5", "" using 2:5 with lines ls 5 title "decay alone"
}
if (page eq "12") {
    set output draw("learn")
    set xlabel "step"; set ylabel "cross-entropy, share of right answers"; set key center right; set yrange [0:*]
    plot points("learn") using 2:3 with lines ls 2 title "cross-entropy", "" using 2:4 with lines ls 1 title "right"
    set output draw("overlap")
    set multiplot layout 1,2; unset key; set palette @warm; set cbrange [-1:1]; unset colorbox; unset grid
    set yrange [3.5:-0.5]; set ytics 0, 1; set xrange [-0.5:8.5]; set xlabel "token"; set ylabel "pair that is asked for"
    do for [i = 0:1] { set title word("before after", i + 1).' training: q . k'; plot only("overlap", 2, sprintf("%d", i)) using 4:3:5 with image }
    unset multiplot
}
