#!/usr/bin/env bash
# Populate on a cluster with SLURM: each task of the array is a machine's worth of workers, which
# share the jobs through the database. Copy it, adapt the lines below, then: sbatch slurm.sh [--only ...]
#
#SBATCH --job-name=bwm-populate
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60
#SBATCH --requeue
#SBATCH --output=bwm-%A_%a.log
# Before its time is over a task is sent SIGTERM: the current jobs are finished or released within
# ten seconds. A task that is killed loses its jobs to others after BWM_STALE_AFTER seconds.
set -euo pipefail

# The server and the store, both reached from every node; the password in a file that only you can
# read (chmod 600): neither in this script nor in the environment of the job, which SLURM keeps.
export DJ_HOST=${DJ_HOST:?name the database server: export DJ_HOST=db.example.org}
export DJ_USER=${DJ_USER:-$USER}
export DJ_PASS_FILE=${DJ_PASS_FILE:-$HOME/.config/bwm/password}
export BWM_STORE=${BWM_STORE:?name the shared folder of the store: export BWM_STORE=/data/bwm/store}
# Downloads, shared by the nodes too.
export BWM_HOME=${BWM_HOME:-$HOME/.bwm}

# A worker for each processor, and the memory of the task divided among them; a tenth is left.
workers=${SLURM_CPUS_PER_TASK:-1}
memory=$((${SLURM_MEM_PER_NODE:-8192} * 9 / 10 / workers))
export OMP_NUM_THREADS=1 # as many workers as processors: no threads besides

# srun, so that the signal reaches the command. In a container instead:
#   command=(apptainer exec bwm.sif bwm)
command=(bwm)
exec srun "${command[@]}" populate --workers "$workers" --memory "${memory}MiB" --log-format json "$@"
