#!/bin/sh
# test_slurm.sh - training and studies under Slurm, as docs/distributed.md says it, on two nodes (tests/support/hosts.sh) with a
# Slurm of this test's own. Checked: srun, the batch script of the page, its signal before the time is over, --resume, a rank
# that is killed, and a study by a job array. Only with PAL_TEST_ALL=1, and where Slurm is installed and can be started.
set -u
. tests/support/hosts.sh
two_hosts srun sbatch slurmctld slurmd munged
lm=$B/examples/train_lm

# ---- A cluster in $dir ----
mkdir "$dir/munge" "$dir/state" "$dir/tmp-alpha" "$dir/tmp-beta"
chmod 711 "$dir" "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 400 "$dir/munge/key"
cat >"$dir/slurm.conf" <<END
ClusterName=test
SlurmctldHost=alpha(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
TmpFS=$dir/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,bf_interval=5
KillWait=5
NodeName=alpha NodeAddr=10.77.0.1 CPUs=4
NodeName=beta NodeAddr=10.77.0.2 CPUs=4
PartitionName=test Nodes=alpha,beta Default=YES MaxTime=INFINITE State=UP
END
# Newer versions want to be told that there are no control groups to keep jobs in; older ones do not know the word.
case $(slurmd -V) in
"slurm-wlm 22."* | "slurm 22."*) echo "CgroupAutomount=no" >"$dir/cgroup.conf" ;;
*) echo "CgroupPlugin=disabled" >"$dir/cgroup.conf" ;;
esac
export SLURM_CONF="$dir/slurm.conf"
at() { cat "$dir/munge/log" "$dir"/slurm*.log 2>/dev/null | grep -i "error\|fatal" | tail -n 3; }
munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" \
    --seed-file="$dir/munge/seed" >"$dir/out" 2>&1 || skip_hosts "munged does not start: $(cat "$dir/out")"
slurmctld -c >"$dir/out" 2>&1 || skip_hosts "slurmctld does not start: $(cat "$dir/out" && at)"
slurmd -N alpha >"$dir/out" 2>&1 || skip_hosts "slurmd does not start: $(cat "$dir/out" && at)"
on_beta slurmd -N beta >"$dir/out" 2>&1 || skip_hosts "slurmd does not start on the other node: $(cat "$dir/out" && at)"
i=0
while [ "$(sinfo -h -t idle -o %D 2>/dev/null)" != 2 ] && [ $i -lt 1200 ]; do
    sleep 0.1
    i=$((i + 1))
done
[ "$(sinfo -h -t idle -o %D)" = 2 ] || skip_hosts "Slurm has no two nodes: $(sinfo; at)"
srun --mpi=list 2>&1 | grep -q pmix || skip_hosts "this Slurm has no PMIx"

# ---- srun: the results of one process ----
write_text
model="--data $dir/text --mixers gdn2:num_heads=2:head_dim=8,mamba2:head_dim=8:state_size=8 --layers 2 --width 32
--batch 5 --len 19 --dtype f64 --sample 0 --save-every 4 --keep 0"
more="--steps 8 --held-out 0.1 --eval-every 4"
# shellcheck disable=SC2086 # the flags are to be split
"$lm" --out "$dir/alone" $model $more >"$dir/alone.txt" 2>&1 || fail "alone: $(cat "$dir/alone.txt")"
for flags in "-N 1 -n 2" "-N 2 -n 2" "-N 2 -n 4"; do
    checks=$((checks + 1))
    rm -rf "$dir/many"
    # shellcheck disable=SC2086
    srun $flags --mpi=pmix "$lm" --out "$dir/many" $model $more >"$dir/out" 2>&1 || fail "srun $flags: $(cat "$dir/out")"
    grep -q "^ranks   ${flags##* }: rows in ${flags##* } parts" "$dir/out" || fail "srun $flags: no word of ranks: $(cat "$dir/out")"
    same alone many 1e-9
done

# ---- The batch script of the page, with fewer processors and another time of the signal ----
{
    echo "#!/bin/sh"
    sed -n 's/^    \(#SBATCH .*\)/\1/p; s/^    \(export OMP_NUM_THREADS=\$SLURM.*\)/\1/p; s/^    \(srun .*train_lm\) \.\.\.$/\1 "$@"/p' docs/distributed.md |
        sed "s/--ntasks-per-node=8 --cpus-per-task=4/--ntasks-per-node=1 --cpus-per-task=2/; s/USR1@300/USR1@100/; s|build/|$B/|"
} >"$dir/job.sh"
[ "$(wc -l <"$dir/job.sh")" = 4 ] || fail "docs/distributed.md has another batch script: $(cat "$dir/job.sh")"
grep -q 'USR1@100$' "$dir/job.sh" || fail "docs/distributed.md has another signal: $(cat "$dir/job.sh")"
submit() { # MINUTES OUT flags...
    minutes=$1
    out=$2
    shift 2
    checks=$((checks + 1))
    sbatch --wait --time=$minutes --output="$dir/$out.txt" "$dir/job.sh" --out "$dir/$out" "$@" >"$dir/out" 2>&1 ||
        fail "sbatch, $*: $(cat "$dir/out" "$dir/$out.txt")"
}
# Two minutes of time, of which 100 s are left at the signal. It comes when Slurm next looks, within half a minute.
# shellcheck disable=SC2086
submit 2 run $model --steps 1000000
[ "$(grep -c "stopped at step [0-9]* by .*; the run is saved" "$dir/run.txt")" = 1 ] || fail "no word of the signal: $(tail -n 3 "$dir/run.txt")"
grep -q "CANCELLED\|TIME LIMIT" "$dir/run.txt" && fail "the time was over: $(tail -n 3 "$dir/run.txt")"
step=$(($(rows run) - 1))
[ "$(last run)" = $step ] || fail "the last checkpoint is that of step $(last run), not $step"
submit 20 run --resume --steps $((step + 3))
[ "$(rows run)" = $((step + 4)) ] || fail "--resume under sbatch: $(rows run) rows, not $((step + 4))"

# ---- A rank that is killed takes the job with it ----
checks=$((checks + 1))
# shellcheck disable=SC2086
srun -N 2 -n 2 --mpi=pmix --kill-on-bad-exit "$lm" --out "$dir/killed" $model --steps 1000000 >"$dir/killed.txt" 2>&1 &
pid=$!
while [ "$(rows killed)" -lt 10 ] && kill -0 $pid 2>/dev/null; do sleep 0.05; done
for process in $(ip netns pids beta); do
    [ "$(cat "/proc/$process/comm")" = train_lm ] && kill -KILL "$process"
done
i=0
while kill -0 $pid 2>/dev/null && [ $i -lt 1200 ]; do
    sleep 0.1
    i=$((i + 1))
done
if kill -0 $pid 2>/dev/null; then
    fail "the job does not end when a rank is killed: $(tail -n 3 "$dir/killed.txt")"
    scancel --me
fi
if wait $pid; then fail "a rank is killed: status 0"; fi
step=$(last killed)
srun -n 4 --mpi=pmix "$lm" --out "$dir/killed" --resume --steps $((step + 2)) >"$dir/out" 2>&1 || fail "--resume under srun: $(cat "$dir/out")"
[ "$(rows killed)" = $((step + 3)) ] || fail "the log is not that of $((step + 2)) steps"

# ---- A study by a job array ----
cat >"$dir/a.study" <<'END'
title = Parity
task = parity:min=3:max=8:test_len=8,16:dense=true
layers = 1
width = 16
mlp = none
state = 64
match = 20%
steps = 6
batch = 4
rows = 16
seeds = 1, 2
variant.gdn2 = gdn2:num_heads=1:head_dim=8:use_short_conv=false
variant.gdn  = gdn:num_heads=1:head_dim=8:expand_v=1:use_short_conv=false
lr = 1e-2
END
checks=$((checks + 1))
"$B/examples/ablate" "$dir/a.study" --out "$dir/one" >"$dir/out" 2>&1 || fail "a study: $(cat "$dir/out")"
sbatch --wait --array=0-2 --output="$dir/array-%a.txt" --wrap "$B/examples/ablate $dir/a.study --jobs 1 --out $dir/three" >"$dir/out" 2>&1 ||
    fail "a job array: $(cat "$dir/out" "$dir"/array-*.txt)"
"$B/examples/ablate" "$dir/a.study" --table --out "$dir/three" >"$dir/out" 2>&1 || fail "the table of the array: $(cat "$dir/out")"
cmp -s "$dir/one/results.csv" "$dir/three/results.csv" || fail "the array has other results: $(diff "$dir/one/results.csv" "$dir/three/results.csv")"
[ "$(grep -l . "$dir"/array-[012].txt | wc -l)" = 3 ] || fail "the array has not three parts: $(cat "$dir"/array-*.txt)"
report
