# shellcheck shell=bash
# Which job runner each kind of work uses. All follow Kaldi's protocol:
#     runner [--mem 4G] [--num-threads 2] [--gpu 1] [--max-jobs-run 8] [JOB=1:20] log/x.JOB.log command…
# utils/run.py runs jobs on this machine, as many at a time as its cores (and GPUs) allow; utils/slurm.py on a Slurm
# cluster, with what conf/slurm.conf makes of the options. Kaldi's run.pl, slurm.pl and queue.pl, put on PATH, work
# here as well.
export train_cmd="run.py --mem 2G"   # CPU work: features, noisy copies
export cuda_cmd="run.py --mem 8G"    # trainings and scoring; the driver adds --gpu and --num-threads
# For Slurm uncomment this line. A training that its queue's time limit (--time) stops goes on where it was.
# export train_cmd="slurm.py --mem 2G --retries 1" cuda_cmd="slurm.py --mem 8G --retries 1 --warning 120"
