#!/bin/sh
# run.sh - runs every test program given and sums up: "N passed, N failed".
#
# Three more run at once than there are processors, for some wait for others or for the disk; or TEST_JOBS.
# First those named *_threads run, each with the processors to itself. A Check suite counts its checks, any other program counts as one. A program that
# ends badly without having counted a failure (a crash, a sanitizer's report, a time-out) counts as one
# failure. What a program printed is shown when it failed, and lines that begin with "note: " always; it
# stays in $B/logs. PASSED_BEFORE is the number of tests that passed in a run before this one, which the
# last line counts too.
B=${B:-build}
LC_ALL=C # sort and awk of the tests read and write numbers
export LC_ALL
mkdir -p "$B/logs"
# nproc counts the processors that this process may use, if OpenMP's variables do not say otherwise.
processors=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
TEST_JOBS=${TEST_JOBS:-$((processors + 3))}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
# Leak checks report the library's own leaks; what MPI and HDF5 keep until exit is theirs. The check of gcc 12 guesses where
# the variables of a thread begin that a library brings which is loaded late, as oneDNN is, and sometimes reads at a wrong
# address; intercept_tls_get_addr=0 leaves these variables out.
LSAN_OPTIONS="suppressions=tests/lsan.supp:print_suppressions=0:intercept_tls_get_addr=0"
# Programs that wait leave the processor to the others; teams stay small beside them on large machines.
OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((processors < 4 ? processors : 4))}
# A test's own limit catches a program that hangs; on a machine with other work nothing else may meet it.
CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-20}
export B LSAN_OPTIONS OMP_WAIT_POLICY OMP_NUM_THREADS CK_TIMEOUT_MULTIPLIER
# Each check of a Check suite is a process, which takes and gives back a few MiB again and again: the
# C library keeps them. Scripts run programs as users do.
keep="MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=1048576"
# Suites of hundreds of computations, whose checks share a process: that saves a third of their time. If it ends before
# they are counted, they run once more in processes of their own. With PAL_TEST_ALL=1 they always do.
one_process="test_attention test_compositions test_kernel_accuracy test_kernel_rows test_kernels test_keys
test_layer_reductions test_layers test_mamba3 test_mamba3_state test_ops test_optim_frame test_packed test_plain test_reductions
test_rule_kernels test_rule_limits test_rule_options test_rule_parts test_rule_properties test_rules"
[ "${PAL_TEST_ALL:-0}" = 1 ] && one_process=

# These begin first, so that none of them is left over when all others are done; among the first are those that mostly wait.
longest="test_dist_zero.sh test_dist_hang.sh test_stop.sh test_kill.sh test_ablate.sh test_course.sh test_inspect.sh test_generate.sh test_folder.sh
test_dist_lm.sh test_dist_layers.sh test_tasks.sh test_dist_ranks.sh test_install.sh test_released.sh test_convert_files.sh test_resume.sh
test_train.sh test_dist_train.sh test_ops test_convert.sh test_rules test_examples.sh test_generate_text.sh test_ablate_layers.sh
test_check.sh test_memory.sh test_layers test_streams.sh test_site.sh test_dist_mamba3.sh test_bf16_products
test_rule_parts test_hdf5_guards test_compositions test_number"

# ---- The list: a file for each name with the command's words, and the names in their order ----
add() { # name command...
    name=$1
    shift
    echo "$name" >>"$work/given"
    printf '%s\n' "$@" >"$work/$name.command"
}
for program in "$@"; do
    name=$(basename "$program")
    case $program in
    *.sh) add "$name" sh "$program" ;;
    */replay)
        add replay "$program" tests/data/*.h5
        for mode in composed recurrent chunk; do
            add "replay_$mode" "$program" --mode $mode tests/data/*.h5
        done
        ;;
    *) # shellcheck disable=SC2086 # the variables are to be split
        add "$name" env $keep "$program"
        for one in $one_process; do
            [ "$one" = "$name" ] && printf '%s\n' env CK_FORK=no | cat - "$work/$name.command" >"$work/$name.at-once"
        done
        ;;
    esac
done
touch "$work/given"
{
    for name in $longest; do grep -x -F -e "$name" "$work/given"; done
    cat "$work/given"
} | awk '!seen[$0]++' >"$work/names"

# ---- Processes: a program has a session of its own, to which all belongs that it starts ----
processes() { cat /proc/[0-9]*/stat 2>/dev/null | sed 's/(.*)//'; } # pid, state, parent, group, session
end_sessions() { # SIGNAL leaders...
    signal=$1
    shift
    for process in $(processes | awk -v of=" $* " 'index(of, " " $5 " ") || index(of, " " $1 " ") { print $1 }'); do
        kill "-$signal" "$process" 2>/dev/null
    done
}

# ---- Workers: each takes the next name that no other has taken, and tells when it is done ----
start() { # command: its words, a line each; leaves its status and, if that is bad, nothing that it started
    set -- "$1"
    while IFS= read -r word; do set -- "$@" "$word"; done <"$1"
    shift
    setsid env --default-signal=INT,QUIT,TERM,HUP timeout -k 10 900 "$@" >"$B/logs/$task.log" 2>&1 &
    leader=$!
    wait $leader
    status=$?
    # What a crash or a time-out has left behind is in nobody's way.
    [ $status = 0 ] || end_sessions KILL $leader
}
# Hundredths of seconds that processors have spent on the programs that this worker has waited for, in $spent. `times`
# stands in no subshell, which would tell of its own programs.
spend() {
    times >"$work/$task.times"
    spent=$(awk 'NR == 2 { split($1 $2, t, /[ms]/); printf "%d", 6000 * (t[1] + t[3]) + 100 * (t[2] + t[4]) }' "$work/$task.times")
}
run() { # name
    task=$1
    begin=$(date +%s)
    spend
    before=$spent
    if [ -e "$work/$task.at-once" ]; then
        start "$work/$task.at-once"
        if [ $status != 0 ] && ! grep -q '^[0-9]*%: Checks: ' "$B/logs/$task.log"; then
            ended=$status
            start "$work/$task.command"
            [ $status = 0 ] && echo "in one process (CK_FORK=no) it ends with status $ended" >>"$B/logs/$task.log"
            status=$ended
        fi
    else
        start "$work/$task.command"
    fi
    spend
    echo "$status $(($(date +%s) - begin)) $((spent - before))" >"$work/$task.status"
    echo "$task" # a short line goes into the pipe as a whole
}
worker() { # pattern of names
    # A signal to the whole group leaves it to stop(), which would not find the programs of a worker that has gone.
    trap '' TERM HUP
    while IFS= read -r name; do
        # shellcheck disable=SC2254 # a pattern
        case $name in $1) mkdir "$work/$name.taken" 2>/dev/null && run "$name" ;; esac
    done <"$work/names"
}

# ---- One reader of what they tell, which prints and counts ----
report() {
    passed=${PASSED_BEFORE:-0}
    failed=0
    while IFS= read -r name; do
        log=$B/logs/$name.log
        read -r status seconds spent <"$work/$name.status"
        counts=$(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log" |
            awk '{c += $1; f += $2 + $3} END {print c + 0, f + 0}')
        checks=${counts% *}
        bad=${counts#* }
        if [ "$checks" = 0 ]; then checks=1; fi
        if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
        passed=$((passed + checks - bad))
        failed=$((failed + bad))
        if [ "$status" != 0 ]; then
            echo "FAIL  $name (status $status)"
            tail -n 60 "$log" | sed 's/^/      /'
        else
            printf 'ok    %-24s %4d checks %4d s %5d.%02d s of processors\n' "$name" "$checks" "$seconds" \
                $((spent / 100)) $((spent % 100))
            sed -n 's/^note: /      /p' "$log"
        fi
        echo "$name" >>"$work/told"
    done
    # A program of which nothing was told has not passed.
    sort "$work/names" >"$work/all"
    touch "$work/told"
    for name in $(sort "$work/told" | comm -3 - "$work/all"); do
        echo "FAIL  $name (it did not run)"
        failed=$((failed + 1))
    done
    echo "$passed passed, $failed failed"
    [ $failed = 0 ]
}

# Ends the workers, their programs, and what these have started.
stop() {
    trap '' INT TERM HUP
    # shellcheck disable=SC2086 # a list of numbers
    kill -STOP $workers 2>/dev/null
    leaders=$(processes | awk -v of=" $workers " 'index(of, " " $3 " ") { print $1 }')
    # shellcheck disable=SC2086
    {
        end_sessions TERM $leaders
        sleep 1
        end_sessions KILL $leaders
        kill -KILL $workers $reporter 2>/dev/null
    }
    echo "stopped"
    exit 130
}
workers=
mkfifo "$work/pipe"
report <"$work/pipe" &
reporter=$!
trap stop INT TERM HUP
exec 3>"$work/pipe"
worker '*_threads' >&3 &
workers=$!
wait $workers
workers=
i=0
while [ $i -lt "$TEST_JOBS" ]; do
    worker '*' >&3 &
    workers="$workers $!"
    i=$((i + 1))
done
exec 3>&-
wait $reporter
