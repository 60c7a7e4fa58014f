#!/usr/bin/env bash
# Run a Python program in several processes that train one network: on this machine, or on all nodes of a Slurm job.
#
# Usage: utils/launch.sh [options] <program> <its arguments>
#  e.g.: utils/launch.sh --processes 4 pyscripts/train.py --train data/train_voiced --dev data/dev_voiced --out exp/a
#
# A process that is lost (killed, out of memory) takes the others of its training down with it; all are then started
# again, and go on from what was saved last. A GPU of its own is what each process looks for, in the order of its rank
# on its node; CPU threads (OMP_NUM_THREADS) are shared out. A SIGTERM or SIGUSR1 is passed on to the processes, which
# save and end within the 30 s that torchrun gives them. Where machines have several networks, GLOO_SOCKET_IFNAME and
# NCCL_SOCKET_IFNAME name the one to use.
set -euo pipefail
# shellcheck source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../path.sh"
# shellcheck source=utils/parse_options.sh
. "$SER_ROOT/utils/parse_options.sh"
parse_options "$@" << 'END'
--processes=1 N+           on each node
--nodes=1 N+               nodes of the Slurm job that this runs in, each of which gets N processes
--restarts=5 N             times that all are started again; one loss may take two
--port= N                  where the processes find each other, on the first node (default: drawn from the job's number)
--master= HOST             the first node, of which this script tells itself on the others
END
[ ${#args[@]} -gt 0 ] || die "name a program (--help explains)"
[ -z "${opt[master]}" ] || [ -n "${SLURM_PROCID:-}" ] || die "--master is for this script's own use within srun"
processes=${opt[processes]} nodes=${opt[nodes]}

# wait_for <process>: pass a SIGTERM or SIGUSR1 on, by `told`, and end as the process does.
wait_for() {
  local before code signals=0
  trap 'signals=$((signals + 1)); told' TERM USR1
  while before=$signals code=0; wait "$1" || code=$?; [ "$signals" != "$before" ]; do :; done
  exit "$code"
}

if [ "$nodes" -gt 1 ] && [ -z "${opt[master]}" ]; then
  [ -n "${SLURM_JOB_ID:-}" ] || die "--nodes $nodes: several nodes need a job of Slurm's (slurm.py --num-nodes $nodes; cmd.sh)"
  [ "${SLURM_JOB_NUM_NODES:-1}" -eq "$nodes" ] || die "--nodes $nodes: this job has ${SLURM_JOB_NUM_NODES:-1} (slurm.py --num-nodes)"
  # One launcher a node; the batch script runs on the first node, which the others must be able to call. srun, told to
  # stop, would kill what it started: it is kept from hearing that, and its processes are told by name.
  setsid srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 \
    --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    "${BASH_SOURCE[0]}" --processes "$processes" --nodes "$nodes" --restarts "${opt[restarts]}" \
    --port "${opt[port]:-$((20000 + SLURM_JOB_ID % 20000))}" --master "$(hostname -f)" "${args[@]}" &
  # shellcheck disable=SC2329  # wait_for calls it
  told() { until scancel --signal=TERM "$SLURM_JOB_ID"; do sleep 2; done; } # the controller may be away for a while
  wait_for $!
fi

threads=$((OMP_NUM_THREADS / processes))
export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
# Started again, processes must not find the addresses of those before them in the launchers' own store.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
options=(--nproc-per-node "$processes" --max-restarts "${opt[restarts]}" --nnodes "$nodes")
if [ "$nodes" -eq 1 ]; then
  options+=(--standalone)
else
  host=$([ "$SLURM_PROCID" -eq 0 ] && echo true || echo false)
  options+=(--rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "${opt[master]}:${opt[port]}"
    --rdzv-conf "is_host=$host,join_timeout=120")
fi
guard=(setpriv --pdeathsig KILL) # killed itself, this script leaves nobody behind
"${guard[@]}" true 2> /dev/null || guard=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# A SIGUSR1 that a scheduler sends to all processes is for those that train, which handle it.
(trap '' USR1; exec "${guard[@]}" python3 "$SER_ROOT/utils/torchrun.py" --log-dir "$logs" "${options[@]}" "${args[@]}") &
# shellcheck disable=SC2329
told() { kill -TERM $!; }
wait_for $!
