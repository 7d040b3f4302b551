#!/bin/sh
# quality.sh - what products in bf16 cost a model that learns: a text and a task of recall, in f32 and in bf16, three
# seeds each.
#
#     sh bench/quality.sh OUT STORE [PROCESSES]
#
# STORE is a file of tokens that tokenize made with --held-out, as build/debian2048.tokens.h5. The models of text have 4
# layers of width 192, those of recall 2 of width 64. Each run is a process of one thread; PROCESSES of them go at once
# (the number of processors). A run that is in OUT already is continued, not repeated. STEPS, SEEDS and RECALL change the
# defaults of 1000 steps of text, seeds 1 2 3 and 1000 steps of recall. The tables go to standard output and OUT/quality.md.
# It needs train_lm and recall in B/examples (B: build), and awk; no compiler.
set -eu
LC_ALL=C
export LC_ALL
B=${B:-build}
[ $# -ge 2 ] || { sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
out=$1 store=$2 most=${3:-$(getconf _NPROCESSORS_ONLN)}
steps=${STEPS:-1000} seeds=${SEEDS:-1 2 3} recall=${RECALL:-1000}
mkdir -p "$out"
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

text() { # precision seed
    run=$out/text-$1-$2
    if [ -f "$run/config.txt" ]; then
        "$B/examples/train_lm" --resume --out "$run" --steps "$steps" --sample 0
    else
        "$B/examples/train_lm" --data "$store" --mixers gdn2:num_heads=3:head_dim=64 --layers 4 --width 192 --batch 4 \
            --len 256 --lr 4e-3 --schedule cosine --schedule-steps "$steps" --warmup 50 --steps "$steps" --sample 0 --held-out 0.05 \
            --precision "$1" --seed "$2" --out "$run"
    fi
}
task() { # precision seed
    "$B/examples/recall" --mixers gdn2:num_heads=2:head_dim=16 --vocab 64 --len 64 --pairs 4,8,16 --batch 32 --lr 3e-3 \
        --steps "$recall" --every "$recall" --precision "$1" --seed "$2"
}
one() { # kind precision seed
    log=$out/$1-$2-$3.txt
    [ ! -f "$log" ] || return 0
    if "$1" "$2" "$3" >"$log.tmp" 2>&1; then mv "$log.tmp" "$log"; else echo "quality.sh: $1 $2 $3 failed: $log.tmp" >&2; fi
}

# Longest first. As many as may be are begun; wait -n is no part of sh, so each slot is a process that takes every
# most-th run.
count=0
for kind in text task; do
    for seed in $seeds; do
        for precision in f32 bf16; do
            count=$((count + 1))
            echo "$kind $precision $seed"
        done
    done
done >"$out/runs"
count=$(wc -l <"$out/runs")
slot=0
while [ $slot -lt "$most" ] && [ $slot -lt "$count" ]; do
    awk -v s=$slot -v n="$most" '(NR - 1) % n == s' "$out/runs" | while read -r kind precision seed; do
        one "$kind" "$precision" "$seed"
    done &
    slot=$((slot + 1))
done
wait

held_out() { # of a run: its last number
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "held_out") at = i; next } $at != "" { last = $at } END { print last }' \
        "$out/text-$1-$2/log.csv"
}
accuracy() { # of a run: one for each number of pairs
    awk '/^[0-9]+ pairs/ { for (i = 1; i <= NF; i++) if ($i ~ /^[01]\.[0-9]+$/) { printf "%s%s", n++ ? " " : "", $i; break } }' \
        "$out/task-$1-$2.txt"
}
table() {
    date=$(date +%F)
    machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    echo "$machine, $date; $steps steps of text, $recall of recall"
    grep -h '^bf16 ' "$out"/text-bf16-*.txt | sort -u
    echo
    echo '| seed | text, held-out bits f32 | bf16 | recall, accuracy f32 | bf16 |'
    echo '|---|---|---|---|---|'
    for seed in $seeds; do
        echo "| $seed | $(held_out f32 "$seed") | $(held_out bf16 "$seed") | $(accuracy f32 "$seed") | $(accuracy bf16 "$seed") |"
    done
    for seed in $seeds; do echo "$(held_out f32 "$seed") $(held_out bf16 "$seed")"; done | awk '
        { d = $2 - $1; sum += d; if (d < 0) d = -d; if (d > most) most = d
          for (i = 1; i <= 2; i++) { if (NR == 1 || $i < low[i]) low[i] = $i; if (NR == 1 || $i > high[i]) high[i] = $i } }
        END { printf "\nbf16 minus f32: mean %.4f, at most %.4f; seeds differ by %.4f in f32 and %.4f in bf16\n", sum / NR, most,
                     high[1] - low[1], high[2] - low[2] }'
}
table | tee "$out/quality.md"
