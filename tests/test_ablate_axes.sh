#!/bin/sh
# test_ablate_axes.sh - axes of a study: variants for each value, which are equal and compared at each place.
. tests/support/ablate.sh

# An option of all variants, and a number in their texts; equal at each place.
cat >"$dir/axes.study" <<'END'
task = mqar:vocab=16:len=16:pairs=2
axis.n = 4, 8
axis.steps = 2, 3
width = 16
rows = 8
batch = 4
state = same
match = 40%
variant.gdn2 = gdn2:num_heads=2:head_dim=${n}
variant.mamba2 = mamba2:inner=${2n}:head_dim=${n}:state_size=${n}
END
works axes "$dir/axes.study" --jobs 2
says axes '^8 runs, 8 of them to be made'
for row in gdn2-4-2:32:2 gdn2-8-3:128:3 mamba2-4-3:32:3 mamba2-8-2:128:2; do
    IFS=: read -r name state steps <<END
$row
END
    says axes "^| $name | [0-9]* | 2 x $state | .* | $steps | 1 |"
done
[ "$(grep -c '^mqar,.*,mamba2-\(4-2\|4-3\|8-2\|8-3\),gdn2-' "$dir/axes/comparisons.csv")" = 4 ] ||
    fail "not one comparison at each place: $(cat "$dir/axes/comparisons.csv")"

[ $failed = 0 ] && echo "axes make variants"
exit $failed
