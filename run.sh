#!/usr/bin/env bash
# Runs a scenario or a measurement on a fresh cluster of its own, and stops that in any case.
set -euo pipefail

# Relative to the caller's folder, which the script leaves.
for variable in GTSTORE_BIN GTSTORE_SECRET_FILE; do
    if [[ -n ${!variable:-} ]]; then export "$variable=$(realpath -m -- "${!variable}")"; fi
done
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")"

usage() {
    cat <<'EOF'
Usage: ./run.sh [single|test1|test2|test3|test4|throughput|load|elastic|--help]

Starts a fresh cluster, runs the scenario, checks its results, stops the cluster.

  single      2 nodes, K=2: three clients at once, each puts a list and reads it back (default)
  test1       1 node, K=1: put, get, overwrite
  test2       5 nodes, K=3: the same
  test3       3 nodes, K=2: a node is killed, nothing is lost, writes go on
  test4       7 nodes, K=3: two nodes are killed at once, nothing is lost
  throughput  7 nodes, K=1, 3 and 5: operations a second; logs/perf_throughput.csv and .svg
  load        7 nodes, K=1: keys on each node; logs/perf_loadbalance.csv and .svg
  elastic     7 nodes, K=3: nodes are killed, added, leave and change weight under full
              load; logs/perf_elastic.csv and .svg, logs/perf_elastic_events.csv

Environment:
  GTSTORE_TP_OPS         operations of each throughput measurement [200000]
  GTSTORE_LB_INSERTS     keys that load inserts [100000]
  GTSTORE_EL_KEYS        keys that elastic reads and writes [1000000]
  GTSTORE_MANAGER_PORT   the manager's port [5000]
  GTSTORE_BASE_PORT      node1 listens on the port after this one [6000]
  GTSTORE_REDIS_BASE_PORT  the same for the Redis protocol; 0: none [7000]
  GTSTORE_BIN            folder of prebuilt programs [target/release, built if needed]

Exit code 0: all results right; 1: one was wrong, or something failed; 2: bad arguments.
EOF
}

# Set while ./start_service works, so that a signal meanwhile leaves no process behind.
starting=
# Set while a cluster of ours runs: only that one is ever stopped.
started=
# Set while a bench runs.
working=
scratch=

on_exit() {
    local status=$?
    # Commands from here on ignore these too, so that a second Ctrl-C does not interrupt the
    # cleanup.
    trap '' INT TERM HUP QUIT
    # It is the last that was started. By $!, since a signal may come before that is kept anywhere.
    if [[ -n $working && -n ${!:-} ]]; then
        kill -TERM "$!" 2>/dev/null || true
        wait "$!" || true
    fi
    if [[ -n $starting && -n ${!:-} ]]; then
        # It cleans up after itself when it is interrupted; if it was ready before, this script has
        # to stop the service.
        kill -TERM "$!" 2>/dev/null || true
        if wait "$!"; then started=yes; fi
    fi
    stop_cluster || status=1
    if [[ -n $scratch ]]; then rm -rf "$scratch"; fi
    exit "$status"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 131' QUIT

start_cluster() { # nodes copies
    local status=0
    starting=yes
    ./start_service --nodes "$1" --rep "$2" --fresh &
    wait "$!" || status=$?
    # The order matters: a signal in between stops the cluster.
    ((status)) || started=yes
    starting=
    if ((status)); then exit "$status"; fi
}

# In the background, where Ctrl-C does not reach it. A signal meanwhile has on_exit call this again:
# the second ./stop_service waits for the first.
stop_cluster() {
    if [[ -n $started ]]; then
        ./stop_service &
        wait "$!" || return
        started=
    fi
}

# In the background, since bash handles a signal only between commands and while it waits.
# Background commands ignore Ctrl-C, and on_exit stops them.
bench() {
    local status=0
    working=yes
    "${GTSTORE_BIN:-${CARGO_TARGET_DIR:-target}/release}/bench" "$@" &
    wait "$!" || status=$?
    working=
    return "$status"
}

scenario() { # name nodes copies
    start_cluster "$2" "$3"
    bench scenario "$1"
    stop_cluster
    echo "$1: all results are right"
}

throughput() {
    # Each fresh cluster wipes logs/, so the rows are collected in another folder.
    scratch=$(mktemp -d)
    local copies
    for copies in 1 3 5; do
        start_cluster 7 "$copies"
        bench throughput --append --out "$scratch"
        stop_cluster
    done
    mkdir -p logs
    mv "$scratch"/*.csv logs/
    bench report --out logs
}

load() {
    start_cluster 7 1
    bench load --out logs
    stop_cluster
}

# It starts its processes itself, since it kills some and awaits the exit code of others.
elastic() {
    if [[ -z ${GTSTORE_BIN:-} ]]; then
        if ! command -v cargo >/dev/null; then
            echo "run.sh: there is no cargo to build the programs with: https://rustup.rs tells how to install it;" \
                "or name a folder with ready-built programs: GTSTORE_BIN=FOLDER" >&2
            exit 2
        fi
        cargo build --release --quiet
    fi
    bench elastic --out logs
}

if (($# > 1)); then
    echo "run.sh: one argument at most; see ./run.sh --help" >&2
    exit 2
fi
case "${1:-single}" in
single) scenario single 2 2 ;;
test1) scenario test1 1 1 ;;
test2) scenario test2 5 3 ;;
test3) scenario test3 3 2 ;;
test4) scenario test4 7 3 ;;
throughput) throughput ;;
load) load ;;
elastic) elastic ;;
-h | --help) usage ;;
*)
    echo "run.sh: \"$1\" is no scenario; see ./run.sh --help" >&2
    exit 2
    ;;
esac
