#!/bin/sh
# mixers.sh - the four mixers against each other on one text: equal state, equal parameters, equal time.
#
#     sh bench/mixers.sh rates STORE OUT     short runs on another seed, from which the rates below were chosen
#     sh bench/mixers.sh times STORE OUT     seconds of a step, from 200 of each: quartiles, and the evaluation's
#     sh bench/mixers.sh runs STORE OUT      three seeds of each, and the table of docs/training.md
#
# STORE is a store of tokens (examples/tokenize), OUT a folder. Two runs at a time, each on one thread. What is in OUT
# already is not run again, so that a study that was stopped goes on. Every run is a function of its flags: who has the
# same store gets the same losses, but not the same minutes, which are for a machine that does nothing else.
# build/examples/train_lm has to be there.
set -eu
LC_ALL=C # awk and sort read and write numbers
export LC_ALL
B=${B:-build}
what=${1:-}
[ $# = 3 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
store=$2 out=$3
mkdir -p "$out"

# A layer's state is 3 x 64 x 64 numbers in each (mamba2: 6 heads of 64 x 32). The width of the MLP makes the
# parameters equal, the steps make 10 minutes of a core of docs/training.md's machine, evaluation included.
#   mixer  options                               MLP  rate  steps
mixers='gdn2   :num_heads=3:head_dim=64:expand_v=1   512  8e-3  2300
        kda    :num_heads=3:head_dim=64:expand_v=1   639  8e-3  2300
        gdn    :num_heads=3:head_dim=64:expand_v=1   660  4e-3  2350
        mamba2 :head_dim=64:state_size=32            574  4e-3  2450'

# run NAME MIXER MLP RATE STEPS SEED, unless it is there
run() {
    [ ! -e "$out/$1.txt" ] || return 0
    rm -rf "${out:?}/$1"
    (
        OMP_NUM_THREADS=1 "$B/examples/train_lm" --data "$store" --held-out 0.05 --mixers "$2" --mlp-width "$3" \
            --layers 4 --width 192 --batch 4 --len 256 --lr "$4" --steps "$5" --schedule cosine --warmup 50 \
            --seed "$6" --threads 1 --sample 0 --out "$out/$1" 2>&1 &&
            times # of the core: user and system, of this shell and then of what it ran
    ) > "$out/$1.part" && mv "$out/$1.part" "$out/$1.txt"
}

# Lines "NAME MIXER MLP RATE STEPS SEED" on stdin, two at a time: the odd ones and the even ones.
two_at_a_time() {
    lines=$(cat)
    for half in 1 0; do
        echo "$lines" | awk -v half=$half 'NR % 2 == half' |
            while read -r name mixer mlp rate steps seed; do run "$name" "$mixer" "$mlp" "$rate" "$steps" "$seed"; done &
    done
    wait
}

# Of the core: user and system.
seconds() { tail -n 1 "$out/$1.txt" | awk -F'[ms ]+' '{ print 60 * $1 + $2 + 60 * $3 + $4 }'; }
value() { sed -n 's/^best *\([0-9.]*\) bits.*/\1/p' "$out/$1.txt"; }

case $what in
rates)
    echo "$mixers" | while read -r mixer options mlp rate steps; do
        for rate in 2e-3 4e-3 8e-3 16e-3; do echo "$mixer-$rate $mixer$options $mlp $rate 300 100"; done
    done | two_at_a_time
    echo "$mixers" | while read -r mixer rest; do
        for rate in 2e-3 4e-3 8e-3 16e-3; do echo "$mixer $rate $(value "$mixer-$rate")"; done
    done
    ;;
times)
    for half in a b; do # both of a pair are alike
        echo "$mixers" | while read -r mixer options mlp rate steps; do
            echo "$mixer-$half $mixer$options $mlp $rate 200 100"
        done
    done | sort | two_at_a_time
    echo 'mixer: a quarter of the steps below, half, three quarters; of the core outside of steps'
    echo "$mixers" | while read -r mixer rest; do
        for half in a b; do
            sed -n 's/.*"seconds":\([0-9.]*\).*/\1/p' "$out/$mixer-$half/log.jsonl" | sort -n | awk -v all="$(seconds "$mixer-$half")" '
                { s[NR] = $1; sum += $1 }
                END { print s[int(NR / 4)], s[int(NR / 2)], s[int(3 * NR / 4)], all - sum }'
        done | awk -v mixer="$mixer" '{ for (i = 1; i <= NF; i++) s[i] += $i }
            END { printf "%s: %.3f %.3f %.3f; %.1f\n", mixer, s[1] / NR, s[2] / NR, s[3] / NR, s[4] / NR }'
    done
    ;;
runs)
    for seed in 1 2 3; do
        echo "$mixers" | while read -r mixer options mlp rate steps; do
            echo "$mixer-$seed $mixer$options $mlp $rate $steps $seed"
        done
    done | two_at_a_time
    echo '| mixer | parameters | rate | steps | minutes of the core | bits per byte, held out: mean, and each seed |'
    echo '|---|---|---|---|---|---|'
    echo "$mixers" | while read -r mixer options mlp rate steps; do
        for seed in 1 2 3; do
            parameters=$(sed -n 's/^model.* \([0-9]*\) parameters.*/\1/p' "$out/$mixer-$seed.txt")
            echo "$(value "$mixer-$seed") $parameters $(seconds "$mixer-$seed")"
        done | awk -v mixer="$mixer" -v rate="$rate" -v steps="$steps" '
            { sum += $1; each = each (NR > 1 ? ", " : "") $1; parameters = $2; took = took (NR > 1 ? ", " : "") sprintf("%.1f", $3 / 60) }
            END { printf "| %s | %d | %s | %d | %s | %.4f (%s) |\n", mixer, parameters, rate, steps, took, sum / NR, each }'
    done
    ;;
*) echo "mixers.sh: $what is neither rates, times nor runs" >&2; exit 2 ;;
esac
