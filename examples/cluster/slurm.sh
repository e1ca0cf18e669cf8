#!/usr/bin/env bash
# One training on several machines of a SLURM cluster: one worker a machine, all its GPUs.
#
#     sbatch --nodes 4 --gpus-per-node 8 examples/cluster/slurm.sh specs/my_spec.yaml runs/my_run
#
# The spec says `train: {strategy: multi_worker}`; its data.batch_size is a multiple of the number of all GPUs. A teacher
# that is another spec is trained first, on one machine. The folder runs/ is one that all machines see, and tdspec is
# installed on each (`pip install "tdspec[train]"`). Where a machine is lost, or the time is up, all workers end; the
# same call goes on from the last epoch, and SLURM itself makes it where the job may be requeued.
#SBATCH --job-name=tdspec
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=tdspec-%j.txt
set -euo pipefail

# TF_CONFIG of this task: the machines of the job, the first of which is the chief. Other jobs may be on them, so that
# the port comes from the job's number.
tf_config() {
    local port=$((20000 + SLURM_JOB_ID % 10000)) addresses="" host
    while read -r host; do
        addresses+="${addresses:+, }\"$host:$port\""
    done < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    printf '{"cluster": {"worker": [%s]}, "task": {"type": "worker", "index": %d}}\n' "$addresses" "$SLURM_PROCID"
}

work() {
    local spec=$1 run=$2
    TF_CONFIG=$(tf_config)
    export TF_CONFIG
    # Of these words the chief's alone count; the others may see its folder a moment later.
    local resume=()
    if [ -f "$run/run.json" ]; then resume=(--resume); fi
    exec tdspec train "$spec" --run-dir "$run" "${resume[@]}"
}

if [ $# -ne 2 ]; then
    echo "usage: sbatch $0 SPEC RUN" >&2
    exit 2
fi
# The other machines do not have this script, but the functions reach them with the environment.
export -f tf_config work
exec srun --kill-on-bad-exit=1 bash -c 'set -euo pipefail; work "$@"' worker "$@"
