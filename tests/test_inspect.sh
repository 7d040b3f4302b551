#!/bin/sh
# test_inspect.sh - what inspect leaves: tables, CSV, figures, and a page that a browser opens from
# disk, alone, and that shows the token which its address names.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
export OMP_NUM_THREADS=1

fail() {
    echo "FAIL: $*"
    failed=1
}
look() { # OUT arguments...
    out=$1
    shift
    "$B/examples/inspect" "$@" >"$dir/$out.txt" 2>&1 || fail "$*: $(cat "$dir/$out.txt")"
}
says() { grep -q -e "$2" "$dir/$1.txt" || fail "no \"$2\": $(cat "$dir/$1.txt")"; }

# ---- The demo ----
look demo --demo --out "$dir/demo"
says demo '^   4 read a  *green  *green  *green  *green  *red + green '
says demo '^  12 read b  *0  *0  *0  *0  *0.875 blue + 0.7 gold '
look again --demo --out "$dir/again" --mode composed --no-figures
paste -d, "$dir/demo/maps.csv" "$dir/again/maps.csv" | awk -F, '
    NR > 1 { for (i = 1; i <= 10; i++) { d = $i - $(i + 10); if ($i != "" && !(d <= 1e-12 && -d <= 1e-12) || ($i == "") != ($(i + 10) == "")) bad++ } }
    END { exit bad > 0 || NR != 721 }' || fail "composed and recurrent differ in maps.csv"
[ -e "$dir/again/state-0-0.svg" ] && fail "--no-figures makes figures"
for name in tokens heads gates norms sigma maps state; do
    [ "$(wc -l <"$dir/demo/$name.csv")" -gt 4 ] || fail "$name.csv: $(cat "$dir/demo/$name.csv")"
done
# Tokens 0 and 3 write red and green under the key a: after 3 it reads green, and 0.7 of both sums.
grep -q '^"gdn2",0,0,3,0,0,1.41421356,' "$dir/demo/maps.csv" || fail "gdn2 still reads red: $(grep '^"gdn2",0,0,3,' "$dir/demo/maps.csv")"
grep -q '^"mamba2",0,0,3,0,0.707106781,1,1,0,0$' "$dir/demo/maps.csv" || fail "mamba2 is no sum: $(grep '^"mamba2",0,0,3,' "$dir/demo/maps.csv")"

# The numbers themselves, of --at 3: red and blue are there, and green with them or in place of red.
look at --demo --at 3 --out "$dir/at" --no-figures
has() { # file line
    grep -q -x -e "$2" "$dir/at/$1.csv" || fail "$1.csv has no line $2"
}
has state '"gdn2",0,0,3,0,0,0'
has state '"gdn2",0,0,3,0,2,1'
has state '"mamba2",0,0,3,0,0,1'
[ "$(wc -l <"$dir/at/state.csv")" = 97 ] || fail "state.csv is not six states of 4 x 4"
has gates '"gdn2",0,0,8,decay,0,0.5'
has gates '"gdn2",0,0,8,decay,1,1'
has gates '"gdn",0,0,8,decay,0,0.875'
has gates '"gdn2",0,0,13,erase,0,0'
has gates '"gdn2",0,0,13,write,0,1'
has sigma '"mamba2",0,0,3,0,1.41421356'
has sigma '"mamba2",0,0,3,2,0'
has norms '"mamba2",0,0,3,1.73205081,1,1.97063431'
has norms '"gdn2",0,0,3,1.41421356,1.41421356,2'

figures() { # folder layer-head kinds...
    folder=$1 which=$2
    shift 2
    for kind; do
        svg=$folder/$kind-$which.svg
        png=$folder/$kind-$which.png
        [ "$(head -c 4 "$png" | od -An -c | tr -d ' ')" = '211PNG' ] || fail "$png is no PNG"
        [ "$(wc -c <"$png")" -gt 3000 ] || fail "$png is small"
        if command -v xmllint >/dev/null 2>&1; then
            xmllint --noout "$svg" || fail "$svg is not well formed"
        elif command -v python3 >/dev/null 2>&1; then
            python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$svg" || fail "$svg is not well formed"
        fi
        # Points and borders are paths too: a map is an image, and a curve, or the points of one
        # token, has a place of its own.
        case $kind in
        sigma) grep -A 5 'id="gnuplot_plot_1a"' "$svg" | grep -q "<path.*d='M[0-9.,]* L\|<use" || fail "$svg is empty" ;;
        *) filled "$svg" || fail "$svg: not every panel is filled by an image" ;;
        esac
    done
}
# Every panel (a path from the end of its y axis to the origin to the end of its x axis) has an image
# of its size.
filled() { # svg
    tr "'" '"' <"$1" | awk -F '"' '
        function near(a, b) { return a - b < 0.05 && b - a < 0.05 }
        /<image x="/ { n++; x[n] = $2; y[n] = $4; w[n] = $6; h[n] = $8 }
        match($0, / d="M[0-9.]+,[0-9.]+ L[0-9.]+,[0-9.]+ L[0-9.]+,[0-9.]+ M/) {
            split(substr($0, RSTART + 5, RLENGTH - 7), p, "[ ,L]+")
            if (!seen[p[1]]++) { m++; left[m] = p[1]; top[m] = p[2]; low[m] = p[4]; right[m] = p[5] }
        }
        END {
            for (i = 1; i <= n && i <= m; i++)
                good += near(x[i], left[i]) && near(x[i] + w[i], right[i]) && near(y[i], top[i]) && near(y[i] + h[i], low[i])
            exit n == 0 || n != m || good != n
        }'
}
figures "$dir/demo" 0-0 state readback attention sigma

# ---- Mamba-3: two writes and angles, by hand ----
printf 'key a 1 0\nwrite a red lam=0.25\nread a dt=2 lam=0.5 angle=1\nread a angle=-1 decay=0.5\n' >"$dir/turns"
look turns --script "$dir/turns" --rule mamba3 --out "$dir/turns.out" --no-figures
says turns "^   1 read a dt=2 lam=0.5 angle=1 0.675 red"
says turns "^   2 read a angle=-1 decay=0.5 *0.625 red"
says turns '^   1 read a dt=2 lam=0.5 *1.000   0.500   2.000   1.000   1.000$'
has() { # file line
    grep -q -x -e "$2" "$dir/turns.out/$1.csv" || fail "$1.csv has no line $2"
}
for line in 0,decay,0,1 2,decay,0,0.5 0,write,0,0.25 1,late,0,1 1,lam,0,0.5 1,dt,0,2 1,turn,0,1 2,turn,0,-1 1,angle,0,1 2,angle,0,0; do
    has gates "\"mamba3\",0,0,$line"
done
has heads '"mamba3",0,0,mamba3,2,1,1,1,0,1,.*,,1,1'
has maps '"mamba3",0,0,1,0,1,0,0.675377882,0,0' # 1.25 cos 1

# A model with two rows a token, and what its pages and tables have of them.
look rows --mixers mamba3:head_dim=8:state_size=6:is_mimo=true:mimo_rank=2:n_groups=2 --width 16 --text abcab --head 3 --out "$dir/rows"
says rows '^mamba3:head_dim=8:stat *0 *3 *2 *1 '
figures "$dir/rows" 0-3 state readback attention sigma
[ "$(wc -l <"$dir/rows/maps.csv")" = 61 ] || fail "maps.csv has not a line for each pair of 10 rows: $(wc -l "$dir/rows/maps.csv")"
awk -F, 'NR > 1 && $11 <= 1e-8 && $12 > 0 && $12 <= 1e-4 && $13 == 2 && $14 == 1 { good++ } END { exit good != 1 }' "$dir/rows/heads.csv" ||
    fail "heads: $(cat "$dir/rows/heads.csv")"

# Several at once in one folder take turns.
for i in 1 2 3; do "$B/examples/inspect" --demo --no-figures --out "$dir/together" >"$dir/turn-$i.txt" 2>&1 & done
wait
if grep '^inspect: ' "$dir"/turn-*.txt; then fail "they were in each other's way"; fi
cmp -s "$dir/together/maps.csv" "$dir/demo/maps.csv" || fail "several at once: another maps.csv"

# ---- A script, from a file ----
printf 'write a red # a comment\nwrite a blue\n\nread a\n' >"$dir/script"
look script --script "$dir/script" --rule mamba2,gdn2
says script '^   2 read a  *red + blue  *blue'

# ---- Memories of one row or column, and one token ----
look thin --script "$dir/script" --rule mamba2,gdn2 --out "$dir/thin" # one key
figures "$dir/thin" 0-0 state readback attention sigma
look letter --mixers gdn2:num_heads=1,attn:num_heads=1 --width 16 --text a --out "$dir/letter"
figures "$dir/letter" 0-0 state readback attention sigma
pixels() { grep -o 'base64,[^"'"'"']*' "$dir/$1/state-0-0.svg"; }
# A row or a column looks as two of the same do; both in one are always tried.
for shape in '1 2 3 4:-3:1 2 3 4:-3 -3' '5:1 -2 3 -4:5 5:1 -2 3 -4' '5:-3:5 5:-3 -3'; do
    [ "$shape" = '5:-3:5 5:-3 -3' ] || [ "${PAL_TEST_ALL:-0}" = 1 ] || continue
    echo "$shape" | {
        IFS=: read -r key value keys values
        printf 'key a %s\nvalue v %s\nwrite a v\n' "$key" "$value" >"$dir/one"
        printf 'key a %s\nvalue v %s\nwrite a v\n' "$keys" "$values" >"$dir/two"
    }
    for n in one two; do
        look $n --script "$dir/$n" --rule gdn2,kda --out "$dir/$n.out"
        figures "$dir/$n.out" 0-0 state readback attention sigma
        grep -i 'warning\|grid' "$dir/$n.txt" && fail "$shape, $n: gnuplot has something to say"
    done
    [ "$(pixels one.out)" = "$(pixels two.out)" ] || fail "$shape: other colours"
    [ "$(pixels one.out | wc -l)" = 2 ] || fail "$shape: not two images"
done
# The one channel without a name is 0, and there are no parts of it.
printf 'key a 5\nkey b -5\nvalue v 3\nwrite b v\n' >"$dir/one"
look one --script "$dir/one" --rule gdn2 --out "$dir/one.out"
grep -q '>-\{0,1\}0\.[0-9]*<' "$dir/one.out/state-0-0.svg" && fail "tics between the channels"
grep -q '<text> *0</' "$dir/one.out/state-0-0.svg" || fail "no tic of channel 0"

# Names of channels below a panel are turned where they have no room side by side.
turned() { grep -c 'rotate(-90' "$dir/$1/state-0-0.svg"; }
for n in a aquamarine; do
    # shellcheck disable=SC2046 # numbers of a vector
    { printf 'key k 1 0\nkey l 0 1\n'
      for c in 1 2 3 4 5 6; do echo "value $n$c" $(for j in 1 2 3 4 5 6; do echo $((j == c)); done); done
      echo "write k ${n}6"; } >"$dir/named"
    look $n --script "$dir/named" --rule gdn2 --out "$dir/$n.out"
done
[ "$(turned aquamarine.out)" = $(($(turned a.out) + 6)) ] || fail "turned names: $(turned aquamarine.out), $(turned a.out) with short names"

# Nothing in a script, a text or the name of a folder is a command to gnuplot or to a terminal.
mkdir "$dir/bait"
# shellcheck disable=SC2016 # these are what they are
printf 'write `touch${IFS}k` `touch${IFS}v`\nwrite \047.system("touch").\047 "`id`"\nwrite \033[1m r\003d\n' >"$dir/bait/script"
case $B in
/*) program=$B/examples/inspect ;;
*) program=$PWD/$B/examples/inspect ;;
esac
# shellcheck disable=SC1003,SC2016
(cd "$dir/bait" && mkdir '`touch d`' &&
    "$program" --script script --rule gdn2,kda --out '`touch d`' &&
    "$program" --mixers gdn2:num_heads=1 --width 16 --text 'use `touch t`\' --out text) >"$dir/bait.txt" 2>&1 ||
    fail "backquotes: $(cat "$dir/bait.txt")"
[ "$(find "$dir/bait" -mindepth 1 -maxdepth 1 | wc -l)" = 3 ] || # the script and two folders
    fail "a text was run: $(ls "$dir/bait")"
figures "$dir/bait/text" 0-0 state readback attention sigma
figures "$dir/bait/\`touch d\`" 0-0 state readback attention sigma
says bait 'write \\x1b\[1m r\\x03d'
says bait '  r\\x03d'
grep -q "$(printf '\033')" "$dir/bait.txt" && fail "a control character reaches the terminal"

# ---- A model before and after training, on a row of its task ----
"$B/examples/recall" --vocab 16 --len 12 --pairs 2 --mixers gdn2:num_heads=3:head_dim=8,attn:num_heads=2 --layers 2 --width 16 \
    --batch 8 --steps 3 --rows 8 --threads 1 --out "$dir/recall" >"$dir/recall.txt" 2>&1 || fail "recall: $(cat "$dir/recall.txt")"
mkdir "$dir/pair"
touch "$dir/pair/state-7-0.svg" "$dir/pair/sigma-7-0.png" "$dir/pair/state-7-0.txt" "$dir/pair/state-of-0.svg"
look pair "$dir/recall/start.h5" "$dir/recall/model.h5" --row 3 --out "$dir/pair"
says pair '^12 tokens: test row 3 of mqar:vocab=16'
[ "$(grep -c '^model.h5 ' "$dir/pair.txt")" = 5 ] || fail "not five heads: $(cat "$dir/pair.txt")"
# float32 in the layers and float64 here: near, and not the same.
awk -F, 'NR > 1 && $11 <= 1e-8 && $12 > 0 && $12 <= 1e-4 { good++ } END { exit good != 10 || NR != 11 }' "$dir/pair/heads.csv" ||
    fail "errors: $(cat "$dir/pair/heads.csv")"
[ "$(find "$dir/pair" -name 's*-7-0.*' -o -name 'state-of-0.svg' | sort | tr '\n' ' ')" = "$dir/pair/state-7-0.txt $dir/pair/state-of-0.svg " ] ||
    fail "of an earlier run: $(ls "$dir/pair")"
look head "$dir/recall/model.h5" --row 3 --head 2 # which layer 1 has not
[ "$(grep -c '^model.h5 ' "$dir/head.txt")" = 1 ] || fail "not one head: $(cat "$dir/head.txt")"
figures "$dir/pair" 0-1 state readback attention sigma
figures "$dir/pair" 1-0 attention
[ -e "$dir/pair/state-1-0.svg" ] && fail "attention has a state"
# Layer 1 is attention: two heads of two models, the weights of each of 12 rows sum to 1.
awk -F, '
    NR > 1 && $2 == 1 { sum[$1 "," $3 "," $4] += $8; if ($8 == "" || $8 < 0 || $6 != "" || $7 != "") bad++ }
    END { for (row in sum) { rows++; d = sum[row] - 1; if (!(d <= 1e-7 && -d <= 1e-7)) bad++ } exit bad > 0 || rows != 48 }' \
    "$dir/pair/maps.csv" || fail "attention in maps.csv: $(grep ',1,1,' "$dir/pair/maps.csv")"

# ---- train_lm's, on its own data and on a text ----
i=0
while [ $i -lt 60 ]; do
    echo "$i bottles, $((i * i % 97)) labels"
    i=$((i + 1))
done >"$dir/text"
"$B/examples/train_lm" --data "$dir/text" --out "$dir/run" --steps 3 --sample 0 --batch 2 --len 24 --threads 1 --average 0.5 \
    --mixers mamba2:head_dim=8:state_size=8 --layers 1 --width 8 >"$dir/run.txt" 2>&1 || fail "train_lm: $(cat "$dir/run.txt")"
lm=$dir/run/step-00000003.h5
look data "$lm" --row 2 --layer 0 --head 1
says data "^24 tokens: tokens from 48 of $dir/run/data.h5\$" # the copy that the run keeps
says data 'layer 0, head 1$'
look text "$lm" --text "7 bottles" --tokens 5
says text '^5 tokens: --text'
look last "$lm" --text "7 bottles" --tokens 5 --last
cmp -s "$dir/text.txt" "$dir/last.txt" && fail "--last shows the average"

# ---- Data that are not those of the run, and a store for fresh models ----
"$B/examples/tokenize" --train-vocab 300 --out "$dir/store.h5" "$dir/text" >/dev/null || fail "tokenize"
look store --mixers gdn2:num_heads=1 --width 16 --data "$dir/store.h5" --tokens 30 --out "$dir/store" --no-figures
says store "^30 tokens: tokens from 0 of $dir/store.h5"
cut -d, -f2- "$dir/store/tokens.csv" | grep -q '^"[^"]*bottles' || fail "no token of the store: $(cat "$dir/store/tokens.csv")"
look stored --mixers gdn2:num_heads=1 --width 16 --data "$dir/store.h5" --text '12 bottles, 47 labels'
says stored '^[0-9] tokens: --text'
mv "$dir/run/data.h5" "$dir/data.h5"
look moved "$lm" --row 2 --layer 0 --head 1
says moved "^24 tokens: tokens from 48 of $dir/text (not compared with what the model was trained on)"
mv "$dir/data.h5" "$dir/run/data.h5"
other=$(printf '%s/b\033[1m.h5' "$dir")
cp "$lm" "$other"
look name "$other" --text abc --out "$dir/name"
says name '^b\\x1b\[1m.h5 '
figures "$dir/name" 0-1 state readback attention sigma

# ---- Four mixers side by side; a text that would end a script ----
look four --mixers gdn2:num_heads=2,kda:num_heads=2,gdn:num_heads=2,mamba2:head_dim=16:state_size=8 --width 16 \
    --text 'a "key" </script><b>&' --out "$dir/four"
figures "$dir/four" 0-1 state readback attention sigma
look same --mixers gdn2:num_heads=2,kda:num_heads=2,gdn:num_heads=2,mamba2:head_dim=16:state_size=8 --width 16 \
    --text 'a "key" </script><b>&' --out "$dir/same" --no-figures --threads 2
cmp -s "$dir/four/index.html" "$dir/same/index.html" || fail "the page depends on the number of threads"
grep -qi 'src=\|href=\|https\?:\|@import\|fetch(\|XMLHttp' "$dir/four/index.html" && fail "the page asks for other files"

# ---- The page in a browser ----
browse() { # OUT folder hash flags...
    out=$1 page=file://$2/index.html$3
    shift 3
    timeout 600 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$dir/chromium" --enable-logging=stderr \
        --hide-scrollbars "$@" "$page" >"$dir/$out.html" 2>"$dir/$out.err" || fail "chromium: $(tail -n 3 "$dir/$out.err")"
    if grep -i 'CONSOLE\|Uncaught' "$dir/$out.err"; then fail "$page: the console has something to say"; fi
}
shows() { # OUT panel words: of the text that a panel says
    tr -d '\n' <"$dir/$1.html" | sed "s/.*id=\"$2\"//; s/class=\"body\".*//; s/<[^>]*>//g" >"$dir/panel.txt"
    grep -q -e "$3" "$dir/panel.txt" || fail "$1, $2: no \"$3\": $(cat "$dir/panel.txt")"
}
if [ "${PAL_TEST_ALL:-0}" != 1 ]; then
    echo "note: the page is opened in a browser with PAL_TEST_ALL=1"
elif command -v chromium >/dev/null 2>&1; then
    browse rows "$dir/rows" '#t=4' --dump-dom
    shows rows reads-0 'its own keys: cosine 0.*, error'
    shows rows A-0 's = [0-4].[01] [abc] (.*sum of the row [-0-9.e]* [-0-9.e]*<'
    grep -q '6, V 8, 2 rows a token' "$dir/rows.html" || fail "the page does not say how many rows a token has"
    # The slider itself: a page that moves it by script and then shows itself. A space sets the box and plays nothing.
    # shellcheck disable=SC2016 # the $ of the page
    sed 's|^draw();$|draw(); $("slider").value = 12; $("slider").oninput(); $("own").checked = true; $("own").onchange(); $("own").dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));|' \
        "$dir/demo/index.html" >"$dir/slid.html"
    cmp -s "$dir/demo/index.html" "$dir/slid.html" && fail "no place for a script"
    mkdir "$dir/slide" && mv "$dir/slid.html" "$dir/slide/index.html"
    browse slide "$dir/slide" '' --dump-dom
    shows slide S-0 'read: 0'
    shows slide S-4 'read: 0.875 blue + 0.7 gold'
    grep -q '<button id="play"[^>]*>▶' "$dir/slide.html" || fail "a space on the box plays"
    browse t3 "$dir/demo" '#t=3' --dump-dom
    shows t3 S-0 '|S| 1.41, change 1.41read: green'
    shows t3 S-4 '|S| 1.73, change 1read: red + green'
    shows t3 reads-0 'its own key: cosine 1, error 0'
    shows t3 reads-4 'cosine 0.707, error 1'
    shows t3 A-4 'sum of the row 2'
    shows t3 sigma-0 'effective rank 2'
    grep -q 'class="now">write a green<' "$dir/t3.html" || fail "token 3 is not marked"
    browse turns "$dir/turns.out" '#t=1' --dump-dom
    shows turns S-0 '|S| 1.25, change 1'
    shows turns gates-0 'late 1, lam 0.5, dt 2, turn 1'
    shows turns reads-0 'mean of the row 1'
    # One large error leaves the others as they are: a key that had almost nothing written with it.
    printf 'key b 0.6 0.8\nkey a 1 0\nwrite b red write=1e-6\nwrite a blue\nwrite a red erase=0\n' >"$dir/large"
    look large --script "$dir/large" --rule gdn2 --out "$dir/large-page" --no-figures
    browse large "$dir/large-page" '#t=2' --dump-dom
    shows large reads-0 'its own key: cosine 0.707, error 1'
    browse pair "$dir/pair" '#t=5&layer=1&head=1' --dump-dom
    shows pair A-1 'sum of the row 1'
    shows pair S-1 'there is no state'
    browse four "$dir/four" '#t=9' --dump-dom
    shows four reads-3 'mean of the row'
    browse shot "$dir/four" '#t=9' --window-size=1200,1400 --screenshot="$dir/shot.png"
    [ "$(wc -c <"$dir/shot.png" 2>/dev/null || echo 0)" -gt 20000 ] || fail "no screenshot"
else
    fail "no chromium: the page cannot be opened"
fi

# ---- Options of attention; layers without a memory that is shown ----
"$B/examples/train_lm" --data "$dir/text" --out "$dir/scaled-run" --steps 1 --sample 1 --width 16 --layers 0 --len 16 \
    --mixers attn:num_heads=2:scale=3:output_gate=sigmoid:window_size=5,shortconv >"$dir/scaled.log" 2>&1 || fail "$(cat "$dir/scaled.log")"
look scaled "$dir/scaled-run/step-00000001.h5" --out "$dir/scaled" --no-figures
awk '$4 == "attn" { n++; if (!($NF <= 1e-6)) bad = 1 } $4 == "shortconv" { bad = 1 } END { exit bad || n != 2 }' "$dir/scaled.txt" ||
    fail "the maps are not those of the layer: $(cat "$dir/scaled.txt")"

# ---- What is refused ----
refuses() { # words arguments...
    words=$1
    shift
    if timeout 300 "$B/examples/inspect" "$@" >"$dir/out" 2>&1 </dev/null; then fail "accepted: $*"; fi
    grep -q -e "$words" "$dir/out" || fail "no \"$words\": $(cat "$dir/out")"
}
refuses "one of CHECKPOINT, --mixers, --script and --demo"
refuses "one of CHECKPOINT, --mixers, --script and --demo" --demo "$lm"
refuses "no attribute\|not a readable\|cannot be read" "$dir/nothing.h5"
refuses "not a readable HDF5 file" "$dir/text"
refuses "layer=1: step-00000003.h5 has layers 0 to 0" "$lm" --layer 1
refuses "head=2: the layers of step-00000003.h5 have at most 2" "$lm" --head 2
refuses "head=3: layer 1 of model.h5 has 2 heads" "$dir/recall/model.h5" --layer 1 --head 3
mv "$dir/run/data.h5" "$dir/data.h5"
cp "$dir/store.h5" "$dir/run/data.h5"
refuses "data.h5 has the checksum [0-9a-f]* and the model was trained on [0-9a-f]*: these are other data" "$lm"
rm "$dir/run/data.h5"
mv "$dir/text" "$dir/words"
mkfifo "$dir/text" # which the checkpoint names
refuses "text: a file is wanted" "$lm"
refuses "/dev/zero: a file is wanted" --mixers gdn2 --data /dev/zero
rm "$dir/text"
mv "$dir/words" "$dir/text"
mv "$dir/data.h5" "$dir/run/data.h5"
refuses "layer 0 is shortconv, which inspect does not know" --mixers shortconv --width 16 --text abc
refuses "pairz" --mixers gdn2 --data mqar:pairz=3
refuses "point belongs to tasks" "$lm" --point 2
flags='"layer 5" "row 3" last "data a"'
[ "${PAL_TEST_ALL:-0}" = 1 ] && flags="$flags"' "head 7" "point 2" "seed 2" "tokens 5" "width 8" "layers 2" "text a"'
eval "set -- $flags"
for flag; do
    # shellcheck disable=SC2086 # a flag and its value
    refuses "${flag%% *} belongs to" --demo --$flag
done
refuses "width belongs to --mixers" "$lm" --width 8
refuses "last belongs to checkpoints" --mixers gdn2 --text a --last
refuses "row belongs to the data of models, without --text" "$lm" --text a --row 0
refuses "reads other tokens than the first model\|the tokens of the task" "$dir/recall/model.h5" "$lm"
refuses "are no text" "$dir/recall/model.h5" --text abc
refuses "point=9: the test points" "$dir/recall/model.h5" --point 9
refuses "ends before it\|end before it" "$lm" --row 100000
refuses "513 tokens: from 1 to 512" "$lm" --text "$(head -c 513 "$dir/text" | tr '\n' ' ')"
refuses "the text is empty" "$lm" --text ""
refuses "text:1: a line begins with" --script "$dir/text"
refuses "rwkv" --demo --rule rwkv
refuses "rwkv" --mixers rwkv --text abc
refuses "--mode=chunk should be composed|recurrent" --demo --mode chunk
refuses "there are not so many tokens" --demo --at 15
refuses "choose --layer, --head or fewer --tokens" --mixers gdn2:num_heads=8:head_dim=128 --width 64 --text "$(head -c 500 "$dir/text" | tr '\n' ' ')"
"$B/examples/inspect" --help | grep -q -e '--script' || fail "--help does not teach"

[ $failed = 0 ] && echo "inspect shows what is there"
exit $failed
