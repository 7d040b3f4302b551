#!/bin/sh
# test_ablate_init.sh - variant.X.init = Y: X begins as the function that the seed draws for Y, and a run of another beginning
# is another run.
. tests/support/ablate.sh
plots=no

cat >"$dir/init.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2,3
width = 16
mlp = 24
steps = 6
every = 1
batch = 4
rows = 8
lr = 1e-2
seeds = 2, 5
state = same
differ = output_gate
models = true
rates = 1e-2
variant.kda-map = kda:num_heads=2:head_dim=8:output_gate=none
variant.kda-map.init = gdn
variant.gdn2-map = gdn2:num_heads=2:head_dim=8:output_gate=none
variant.gdn2-map.init = gdn
variant.gdn = gdn:num_heads=2:head_dim=8:expand_v=1:output_gate=none
variant.kda = kda:num_heads=2:head_dim=8:output_gate=none
END
works init "$dir/init.study" --jobs 2
says init '^8 runs, 8 of them to be made'

# ---- The same function ----
# The loss of a look is that of the step before it, so the first one is that of the start, up to rounding. A model of its own
# start has another one, and after the first step so have those that were mapped.
awk -F, 'NR > 1 { loss[$2 " " $3 " " $4] = $5 }
    function off(v, seed, step) { d = loss[v " " seed " " step] / loss["gdn " seed " " step] - 1; return d < 0 ? -d : d }
    END {
        for (seed = 2; seed <= 5; seed += 3)
            if (!(off("kda-map", seed, 1) < 1e-5 && off("gdn2-map", seed, 1) < 1e-5 && off("kda", seed, 1) > 1e-3 &&
                  off("kda-map", seed, 6) > 1e-4 && off("gdn2-map", seed, 6) > 1e-4)) exit 1
    }' "$dir/init/curves.csv" || fail "not gdn at the start alone: $(cat "$dir/init/curves.csv")"

# ---- What tells it ----
says init '^- kda-map: .*, init = gdn$'
says init '^One with an init begins as the function that the seed draws for the variant named there'
if grep -q '^- kda: .*init' "$dir/init.log"; then fail "an init that is not there: $(cat "$dir/init.log")"; fi
awk -F, 'NR == 1 { ok = $NF == "init" } NR > 1 && $NF != ($2 ~ /-map$/ ? "gdn" : "") { ok = 0 } END { exit !ok }' \
    "$dir/init/results.csv" || fail "results.csv: $(cat "$dir/init/results.csv")"
grep -q 'gdn,gdn,,' "$dir/init/results.h5" || fail "results.h5 does not say what began as what"
grep -q '^init = gdn:' "$dir/init/runs/mqar-kda-map-5.txt" || fail "$(cat "$dir/init/runs/mqar-kda-map-5.txt")"
ablate rates "$dir/init.study" --rates
[ "$(grep -l '^init = gdn:' "$dir"/rates/rates/mqar-*-map-0.01-1000.txt | wc -l)" = 2 ] || fail "a search begins elsewhere"

# ---- Going on ----
works init "$dir/init.study" --jobs 2
says init '^8 runs, 0 of them to be made'
made() { # how many of the runs are made again after sed
    cp -r "$dir/init" "$dir/changed"
    sed "$2" "$dir/init.study" >"$dir/changed.study"
    works changed "$dir/changed.study" --jobs 2
    says changed "^8 runs, $1 of them to be made"
    rm -r "$dir/changed"
}
made 2 '/^variant.gdn2-map.init/d'
made 2 's/^\(variant.gdn2-map.init\).*/\1 = kda/'
made 6 's/^variant.gdn =.*/&:conv_size=4/'
# From the file of all runs, without training.
works again "$dir/init.study" --from "$dir/init/runs.txt"
for f in results.csv curves.csv comparisons.csv table.md runs.txt; do
    cmp -s "$dir/init/$f" "$dir/again/$f" || fail "$f is another one from runs.txt"
done
sed 's/^\(variant.kda-map.init\).*/\1 = gdn-other/; $ a variant.gdn-other = gdn:num_heads=2:head_dim=8:expand_v=1:output_gate=none:conv_size=4' \
    "$dir/init.study" >"$dir/changed.study"
works other "$dir/changed.study" --from "$dir/init/runs.txt"
says other 'NOT COMPLETE: 4 of 10 runs are missing'

# ---- Axes and options: the other one is that of the same place ----
cat >"$dir/places.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
width = 16
steps = 1
batch = 4
rows = 8
axis.n = 4, 8
option.4 = conv_size=4
option.2 = conv_size=2
variant.gdn = gdn:num_heads=2:head_dim=${n}:expand_v=1:output_gate=none
variant.kda = kda:num_heads=2:head_dim=${n}:output_gate=none
variant.kda.init = gdn
END
works places "$dir/places.study" --jobs 2
for n in 4 8; do
    for o in 4 2; do
        grep -q "^init = gdn:num_heads=2:head_dim=$n:.*:conv_size=$o\$" "$dir/places/runs/mqar-kda-$n+$o-1.txt" ||
            fail "kda-$n+$o: $(head -n 5 "$dir/places/runs/mqar-kda-$n+$o-1.txt")"
    done
done

# ---- Mistakes ----
wrong() { # words, sed
    sed "$2" "$dir/init.study" >"$dir/wrong.study"
    if ablate wrong "$dir/wrong.study" --list; then fail "accepted: $2"; fi
    says wrong "^ablate: .*wrong.study: $1"
    [ "$(wc -l <"$dir/wrong.log")" = 1 ] || fail "more than one line: $(cat "$dir/wrong.log")"
}
map='s/^variant.kda-map.init.*/variant.kda-map.init'
wrong 'line 15: variant.kda-map.init = mamba2: there is no variant of that name' "$map = mamba2/"
wrong 'line 15: variant.kda-map.init = kda-map: it is the variant itself' "$map = kda-map/"
wrong 'line 15: variant.kda-map.init = gdn2-map: that variant has an init of its own' "$map = gdn2-map/"
wrong 'line 15: variant.kda-map.init = kda: both have the same mixers' "$map = kda/; s/^variant.kda =.*/&\nvariant.kda.lr = 1/"
wrong 'line 15: variant.gdn.init = kda-map: layer 0 is gdn:.*, which does not contain kda' \
    's/^variant.kda-map.init.*/variant.gdn.init = kda-map/; /^variant.gdn2-map/d; /^variant.kda =/d'
wrong 'line 15: .* it has 3 layers, width 16, MLP 24 where the other has 2 layers, width 16, MLP 24' \
    's/^rates.*/variant.kda-map.layers = 3/'
wrong 'line 15: .* width 24, MLP 24 where .* width 16, MLP 24' 's/^rates.*/variant.kda-map.width = 24/'
wrong 'line 15: .* width 16, MLP 25 where .* width 16, MLP 24' 's/^rates.*/variant.kda-map.mlp = 25/'
wrong 'line 15: .* width 16, no MLP where .* width 16, MLP 24' 's/^rates.*/variant.kda-map.mlp = none/'
wrong 'line 17: .* both have to have the same layers, width and MLP' 's/^rates.*/match = 5%/; s/^mlp.*/mlp = match/; /kda-map/d; s/^task/\n\n&/'
wrong 'line 15: variant.kda-map.init = gdn: no parameter of the other model becomes .*g_proj' 's/^\(variant.kda-map = .*\)none/\1silu/'
wrong 'line 15: variant.kda-map.init = gdn: .* computes something else' 's/^variant.kda-map = .*/&:allow_neg_eigval=true/'
wrong 'line 15: variant.kda-map.init = gdn: no parameter of the other model becomes .*' 's/^\(variant.kda-map = .*\)head_dim=8/\1head_dim=4/'
wrong 'line 13: init is of one variant: variant.X.init = Y' 's/^rates.*/init = gdn/'

[ $failed = 0 ] && echo "variants begin as others"
exit $failed
