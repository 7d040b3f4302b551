#!/bin/sh
# test_hosts.sh - training on two hosts, as docs/distributed.md says it: two network namespaces with a cable between them,
# each with a name and an address of its own. mpirun of the first starts ranks on the second through a program in place of
# ssh. Checked: the results are those of one host, SIGUSR1, a rank that is killed, a cable that is pulled for a while, and
# --resume on the other number of ranks. Only with PAL_TEST_ALL=1, and where such namespaces are allowed.
set -u
. tests/support/hosts.sh
two_hosts mpirun
lm=$(cd "$B" && pwd)/examples/train_lm
printf 'alpha slots=2\nbeta slots=2\n' >"$dir/hosts"

# In place of ssh: HOST COMMAND..., which a shell of the host reads. Open MPI gives ssh flags of its own before HOST.
cat >"$dir/agent" <<'END'
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1
shift
exec nsenter --net="/run/netns/$host" unshare --uts sh -c 'hostname "$0" && exec sh -c "$1"' "$host" "$*"
END
chmod +x "$dir/agent"
[ "$("$dir/agent" -x beta hostname)" = beta ] || fail "the agent does not reach beta"

# plm_rsh_agent is the name in Open MPI 4, and PRRTE's in 5.
export OMPI_MCA_plm_rsh_agent="$dir/agent" PRTE_MCA_plm_ssh_agent="$dir/agent"
over() { # N command...
    n=$1
    shift
    checks=$((checks + 1))
    # shellcheck disable=SC2086 # the flags are to be split
    timeout 300 mpirun --hostfile "$dir/hosts" $launch --map-by node -n "$n" -x OMP_NUM_THREADS=1 "$@" >"$dir/out" 2>&1
}
over 4 hostname || fail "mpirun over both hosts: $(cat "$dir/out")"
[ "$(grep -c -x alpha "$dir/out") $(grep -c -x beta "$dir/out")" = "2 2" ] || fail "four ranks on two hosts: $(cat "$dir/out")"

# ---- The results of one host ----
write_text
model="--data $dir/text --mixers gdn2:num_heads=2:head_dim=8,mamba2:head_dim=8:state_size=8 --layers 2 --width 32
--batch 5 --len 19 --dtype f64 --sample 0 --save-every 4 --keep 0"
both() { # N OUT flags...
    n=$1
    out=$2
    shift 2
    over "$n" "$lm" --out "$dir/$out" "$@" || fail "$n ranks over two hosts, $*: $(cat "$dir/out")"
    cp "$dir/out" "$dir/$out.txt"
}
# shellcheck disable=SC2086
"$lm" --out "$dir/alone" $model --steps 12 --held-out 0.1 --eval-every 4 >"$dir/alone.txt" 2>&1 || fail "alone: $(cat "$dir/alone.txt")"
for n in 2 4; do
    # shellcheck disable=SC2086
    both $n hosts$n $model --steps 12 --held-out 0.1 --eval-every 4
    grep -q "^ranks   $n: rows in $n parts, sequences in 1" "$dir/hosts$n.txt" || fail "no word of ranks: $(cat "$dir/hosts$n.txt")"
    same alone hosts$n 1e-9
    # The same ranks on one host, bit for bit.
    # shellcheck disable=SC2086
    holds $n "$lm" --out "$dir/host$n" $model --steps 12 --held-out 0.1 --eval-every 4
    cmp -s "$dir/host$n/step-00000012.h5" "$dir/hosts$n/step-00000012.h5" || fail "$n ranks: one host and two have other bits"
    # A sequence over both hosts, and moments divided among them.
    # shellcheck disable=SC2086
    both $n shared$n $model --steps 12 --held-out 0.1 --eval-every 4 --sequence-parallel 2
    same alone shared$n 1e-9
    # shellcheck disable=SC2086
    both $n shard$n $model --steps 12 --held-out 0.1 --eval-every 4 --shard
    same alone shard$n 1e-9
done
# Without a flag more than docs/distributed.md has: ranks that wait do not sleep then.
# shellcheck disable=SC2086
(cd "$dir" && timeout 300 mpirun --hostfile hosts -n 4 -x OMP_NUM_THREADS=1 "$lm" --out "$dir/plain" $model --steps 12 --held-out 0.1 \
    --eval-every 4) >"$dir/out" 2>&1 || fail "the recipe as it is written: $(cat "$dir/out")"
same alone plain 1e-9
# Other numbers of ranks and hosts go on with a run, and its log is that of a run that was not stopped.
# shellcheck disable=SC2086
both 4 moved $model --steps 4 --held-out 0.1 --eval-every 4
both 2 moved --resume --steps 8
"$lm" --out "$dir/moved" --resume --steps 12 >"$dir/out" 2>&1 || fail "--resume on one host: $(cat "$dir/out")"
same alone moved 1e-9

# ---- Ends ----
begin() { # OUT flags...; in the background until the log has some rows
    out=$1
    shift
    checks=$((checks + 1))
    # shellcheck disable=SC2086
    mpirun --timeout 300 --hostfile "$dir/hosts" $launch --map-by node -n 2 -x PAL_PATIENCE=2 "$lm" --out "$dir/$out" "$@" \
        >"$dir/$out.txt" 2>&1 &
    pid=$!
    while [ "$(rows "$out")" -lt 10 ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
}
# The process of train_lm whose host is beta.
of_beta() {
    for process in $(ip netns pids beta); do
        [ "$(cat "/proc/$process/comm")" = train_lm ] && echo "$process"
    done
}
# shellcheck disable=SC2086
begin usr $model --steps 100000
kill -USR1 $pid
wait $pid || fail "SIGUSR1: status $?: $(cat "$dir/usr.txt")"
step=$(($(rows usr) - 1))
[ "$(last usr)" = $step ] || fail "SIGUSR1: step $step was not saved: $(cat "$dir/usr.txt")"
both 4 usr --resume --steps $((step + 2))

# shellcheck disable=SC2086
begin killed $model --steps 100000
[ "$(of_beta | wc -l)" = 1 ] || fail "beta has other processes: $(of_beta)"
kill -KILL "$(of_beta)"
if wait $pid; then fail "a rank of the other host is killed: status 0"; fi
grep -q "beta" "$dir/killed.txt" || fail "mpirun does not say which host it was: $(cat "$dir/killed.txt")"
[ -z "$(of_beta)" ] || fail "a rank is left on beta"
step=$(last killed)
both 2 killed --resume --steps $((step + 2))
[ "$(rows killed)" = $((step + 3)) ] || fail "the log is not that of $((step + 2)) steps"

# The cable is pulled: rank 0 says who is missing. It is put back, and the run goes on.
# shellcheck disable=SC2086
begin cable $model --steps 100000
must ip link set cable down
i=0
while ! grep -q "rank 1" "$dir/cable.txt" && [ $i -lt 1200 ]; do
    sleep 0.1
    i=$((i + 1))
done
grep -q "waiting for rank 1" "$dir/cable.txt" || fail "nobody is missed: $(cat "$dir/cable.txt")"
before=$(rows cable)
must ip link set cable up
i=0
while [ "$(rows cable)" -lt $((before + 5)) ] && kill -0 $pid 2>/dev/null && [ $i -lt 1200 ]; do
    sleep 0.1
    i=$((i + 1))
done
[ "$(rows cable)" -ge $((before + 5)) ] || fail "the run does not go on: $(cat "$dir/cable.txt")"
kill -USR1 $pid
wait $pid || fail "the run with a cable pulled: status $?: $(cat "$dir/cable.txt")"
report
