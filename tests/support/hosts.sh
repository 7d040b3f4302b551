# shellcheck shell=sh disable=SC2034,SC2154 # the scripts that read it use and set these
# hosts.sh - two hosts on one machine, for tests that read this by `.`: network namespaces with a cable between them, each
# with a name and an address. alpha is where the test runs, and `on_beta COMMAND...` runs something on the other. They share
# all files and processors.
#
# two_hosts PROGRAM...   starts the script again in namespaces of its own, with which all ends that it leaves; or
#                        skips it with a word, where a program or a right is missing
#
# The script then has tests/support/ranks.sh, whose $dir both hosts see.

skip_hosts() {
    echo "note: skipped; $*"
    exit 0
}
must() { # command...
    "$@" >"$dir/must" 2>&1 || {
        echo "FAIL: $*: $(cat "$dir/must")"
        exit 1
    }
}
on_beta() { # command...
    # shellcheck disable=SC2016 # for the shell on beta
    nsenter --net=/run/netns/beta unshare --uts sh -c 'hostname beta && exec "$@"' sh "$@"
}
two_hosts() { # programs...
    if [ "${PAL_TWO_HOSTS:-}" != inside ]; then
        [ "${PAL_TEST_ALL:-0}" = 1 ] || skip_hosts "two network namespaces as hosts are tried with PAL_TEST_ALL=1"
        for program in ip unshare nsenter hostname "$@"; do
            command -v "$program" >/dev/null 2>&1 || skip_hosts "there is no program '$program'"
        done
        own="--net --mount --uts --pid --fork --kill-child --mount-proc"
        [ "$(id -u)" = 0 ] || own="--user --map-root-user $own"
        # shellcheck disable=SC2086 # the flags are to be split
        unshare $own sh -c 'mount -t tmpfs none /run && ip netns add beta && ip link add cable type veth peer name cable netns beta &&
            ip netns exec beta unshare --uts hostname beta' >/dev/null 2>&1 || skip_hosts "network namespaces are not allowed here"
        export PAL_TWO_HOSTS=inside
        # shellcheck disable=SC2086
        exec unshare $own sh "$0"
    fi
    . tests/support/ranks.sh
    must mount -t tmpfs none /run
    must hostname alpha
    must ip netns add beta
    must ip link add cable type veth peer name cable netns beta
    must ip link set lo up
    must ip address add 10.77.0.1/24 dev cable
    must ip link set cable up
    must ip -n beta link set lo up
    must ip -n beta address add 10.77.0.2/24 dev cable
    must ip -n beta link set cable up
    printf '127.0.0.1 localhost\n10.77.0.1 alpha\n10.77.0.2 beta\n' >"$dir/names"
    if [ -e /etc/hosts ]; then
        must mount --bind "$dir/names" /etc/hosts
    else # as in a root that debootstrap has made: nothing can be mounted there, so /etc is a copy with that file
        cp -a /etc "$dir/etc" 2>/dev/null # without what only root may read
        rm -f "$dir/etc/hosts" # a link that leads nowhere
        must cp "$dir/names" "$dir/etc/hosts"
        must mount --bind "$dir/etc" /etc
    fi
    [ "$(on_beta hostname)" = beta ] || fail "beta has another name: $(on_beta hostname)"
}

# What both tests train, and how its results are compared.
write_text() {
    i=0
    while [ $i -lt 400 ]; do
        echo "$i bottles, $((i * i % 97)) labels, $((i % 7)) corks"
        i=$((i + 1))
    done >"$dir/text"
}
rows() { cat "$dir/$1/log.csv" 2>/dev/null | wc -l; }
last() { # OUT: the step of its last checkpoint
    find "$dir/$1" -name 'step-*.h5' | sort | tail -n 1 | sed 's/.*step-0*//; s/\.h5//'
}
# Rows of log.csv agree in loss, and in held-out loss where there is one; all rows are there.
same() { # A B tolerance
    [ "$(rows "$1")" = "$(rows "$2")" ] || fail "$1 and $2 are of other lengths"
    paste -d, "$dir/$1/log.csv" "$dir/$2/log.csv" | awk -F, -v t="$3" '
        function differ(a, b) { d = a - b; return !(d <= t * a && -d <= t * a) }
        NR > 1 && ($1 != $8 || differ($2, $9) || differ($7, $14)) { print; bad = 1 }
        NR > 1 { rows++ }
        END { exit bad || rows < 1 }' || fail "$1 and $2 differ by more than $3"
}
