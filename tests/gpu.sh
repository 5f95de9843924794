#!/usr/bin/env bash
# What a GPU machine has to show of a change, beside the tests that run everywhere.
#
#   tests/gpu.sh checks DATA OUT     kernels, graphs against none, kill and resume, memory: minutes
#   tests/gpu.sh routes DATA OUT     every gate and router: the CPU's losses, graphs against none: minutes
#   tests/gpu.sh ranks DATA OUT      several processes: on one GPU over Gloo, on two over NCCL: minutes
#   tests/gpu.sh speed DATA OUT      step times of the models in docs/performance.md, with and without graphs;
#                                    times of the kernels and of their references
#   tests/gpu.sh txl FILE OUT        Transformer-XL: the CPU's losses, graphs against none, kill and resume; step
#                                    times and memory of both enwik8 presets; FILE is of 20 MB or more
#   tests/gpu.sh sanitize DATA OUT   the kernels' checks under compute-sanitizer, which has to be on the path
#
# DATA is a prefix of a .bin/.idx pair in GPT-2's tokens with several documents. OUT gets the logs; the
# last lines printed say what failed. MOE4J names the command to run, ./moe4j otherwise.
set -uo pipefail
[ $# = 3 ] || { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
home=$(cd "$(dirname "$0")/.." && pwd)
moe4j=${MOE4J:-$home/moe4j}
part=$1 data=$2 out=$3
mkdir -p "$out"
failed=0

tokens="--tokenizer-type NullTokenizer --vocab-size 50256 --data-path $data --data-cache-path $out/cache"
small="--num-layers 2 --hidden-size 128 --num-attention-heads 4 --seq-length 128 --micro-batch-size 4
  --train-iters 12 --log-interval 1 --lr 1e-3 --eval-iters 2 --eval-interval 6 --split 95,5,0 $tokens"
gpt2="--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --bf16 --device cuda
  --lr 3e-4 --eval-iters 0 --split 100,0,0 $tokens"
gpt2_350m="${gpt2/12 --hidden-size 768 --num-attention-heads 12/24 --hidden-size 1024 --num-attention-heads 16}"
experts="--num-experts 96 --moe-router-topk 2 --moe-ffn-hidden-size 1536 --moe-aux-loss-coeff 1e-2"

say() { printf '%-60s %s\n' "$1" "$2"; [[ $2 != FAILED* ]] || failed=$((failed + 1)); }

# Runs a command under a name; its status is the last line of its log.
run() { local name=$1; shift; "$moe4j" "$@" >"$out/$name.log" 2>&1; echo "status $?" >>"$out/$name.log"; }
train() { local name=$1; shift; run "$name" pretrain-gpt "$@" --metrics-dir "$out/$name"; }
succeeded() { grep -qx 'status 0' "$out/$1.log"; }

# A figure of each step of a run, a line each.
figures() { grep '"kind":"train"' "$out/$1/metrics.jsonl" | grep -o "\"$2\":[^,}]*" | cut -d: -f2; }

# The largest relative difference between two runs' losses, against a bound; 0 asks for the same bits.
compare() {
  local verdict
  verdict=$(paste <(figures "$1" 'lm loss') <(figures "$2" 'lm loss') | awk -v bound="$3" -v steps="$4" '
    NF == 2 { d = $1 - $2; d = (d < 0 ? -d : d) / $1; if (d > most) most = d; if ($1 != $2) other++; n++ }
    NF == 1 { odd++ }
    END { good = n == steps && !odd && (bound == 0 ? !other : most <= bound)
          printf "%s (%d steps, largest difference %.1e)", good ? "ok" : "FAILED", n, most }')
  say "losses of $1 and $2" "$verdict"
}

checks() {
  local mid="$gpt2 --micro-batch-size 4 --train-iters 100 --log-interval 1"
  local mid_experts="${mid/--num-layers 12/--num-layers 4} --num-experts 16 --moe-ffn-hidden-size 512
    --moe-aux-loss-coeff 1e-2 --hidden-dropout 0.1"
  local style="--normalization RMSNorm --swiglu --position-embedding-type rope --disable-bias-linear
    --qk-layernorm --group-query-attention --num-query-groups 2"
  local masks="--reset-attention-mask --reset-position-ids --eod-mask-loss"
  local dropout="--hidden-dropout 0.1 --attention-dropout 0.1"
  local few="--num-experts 8 --moe-ffn-hidden-size 64 --moe-aux-loss-coeff 1e-2"
  local broken="--lr 1e30 --no-check-for-nan-in-loss-and-grad"

  run selftest selftest --device cuda
  # Damaged entries of the kernels' cache are compiled anew.
  for entry in "${XDG_CACHE_HOME:-$HOME/.cache}"/moe4j/kernels/*.cubin; do truncate -s -100 "$entry"; done
  run selftest_again selftest --device cuda
  for name in selftest selftest_again; do
    succeeded $name && say "$name" "ok ($(grep -h 'findings' "$out/$name.log"))" || say "$name" FAILED
  done

  # The CPU and the GPU, side by side: each in another process.
  local kind
  for kind in plain style masks dropout few accumulated; do
    local flags=""
    case $kind in
      plain) ;;
      accumulated) flags="--global-batch-size 12" ;;
      *) flags=${!kind} ;;
    esac
    train "cpu_$kind" $small $flags --num-threads 4 &
    train "gpu_$kind" $small $flags --device cuda &
    wait
    compare "cpu_$kind" "gpu_$kind" 1e-4 12
  done
  train gpu_reference $small --device cuda --no-fused-kernels
  compare gpu_plain gpu_reference 1e-5 12
  grep -q 'cannot be captured' "$out/gpu_few.log" &&
    say "experts in fp32 go on without graphs" ok || say "experts in fp32 go on without graphs" FAILED

  train steady_graph $mid --deterministic-mode
  train steady_none $mid --deterministic-mode --cuda-graph off
  compare steady_graph steady_none 0 100
  train experts_graph $mid_experts --deterministic-mode
  train experts_none $mid_experts --deterministic-mode --cuda-graph off
  compare experts_graph experts_none 0 100
  train free_graph $mid
  train free_none $mid --cuda-graph off
  compare free_graph free_none 1e-3 100

  # What is not finite: named on both, and passed over by both alike.
  run stop_gpu pretrain-gpt $small --device cuda --lr 1e30
  run stop_cpu pretrain-gpt $small --num-threads 4 --lr 1e30
  [ "$(grep 'not finite' "$out/stop_gpu.log")" = "$(grep 'not finite' "$out/stop_cpu.log")" ] &&
    grep -q 'not finite' "$out/stop_gpu.log" &&
    say "a loss that is not finite" ok || say "a loss that is not finite" FAILED
  train skip_gpu $small --device cuda $broken
  train skip_cpu $small --num-threads 4 $broken
  [ "$(figures skip_gpu 'learning rate' | wc -l)" = 12 ] &&
    [ "$(figures skip_gpu 'number of skipped iterations')" = "$(figures skip_cpu 'number of skipped iterations')" ] &&
    [ "$(figures skip_gpu 'learning rate')" = "$(figures skip_cpu 'learning rate')" ] &&
    say "skipped steps and their learning rates" ok || say "skipped steps and their learning rates" FAILED

  # Killed behind its thirteenth step, and taken up from its last checkpoint.
  local resumed="$mid_experts --train-iters 40 --global-batch-size 8 --deterministic-mode --save-interval 5"
  train whole $resumed --save "$out/whole_save"
  train cut $resumed --save "$out/cut_save" &
  until grep -qE 'iteration *13/|^status' "$out/cut.log" 2>/dev/null; do sleep 0.05; done
  pkill -9 -f -- "--metrics-dir $out/cut\$"
  wait
  train cut $resumed --save "$out/cut_save" --load "$out/cut_save"
  compare whole cut 0 40
  run evaluate evaluate --load "$out/cut_save" --device cuda --samples 8 --part train
  run generate generate --load "$out/cut_save" --device cuda --max-new-tokens 5 --prompt "5 6 7"
  succeeded evaluate && succeeded generate && say "evaluate and generate" ok || say "evaluate and generate" FAILED

  train long $mid --train-iters 1000 --log-interval 50
  local name
  for name in 'live native pointers' 'memory allocated (bytes)' 'memory reserved (bytes)'; do
    local values
    values=$(figures long "$name" | tail -n +2 | sort -u)
    [ -n "$values" ] && [ "$(wc -l <<<"$values")" = 1 ] && say "$name over 1,000 steps" "ok ($values)" ||
      say "$name over 1,000 steps" "FAILED ($(paste -sd' ' <<<"$values"))"
  done
}

# Every way of routing: the CPU's losses in fp32; in bf16 nearly those, and the same bits with graphs and
# without.
routes() {
  local kind
  local -A routers=(
    [naive]="--balance-strategy naive"
    [noisy]="--balance-strategy noisy --balance-loss-weight 0.1"
    [gshard]="--balance-strategy gshard"
    [gshard_padded]="--balance-strategy gshard --moe-pad-expert-input-to-capacity"
    [switch]="--balance-strategy switch --top-k 1"
    [swipe]="--balance-strategy swipe --top-k 3"
    [quantile]="--balance-strategy quantile"
    [expert_choice]="--balance-strategy expert_choice"
    [losses]="--moe-router-load-balancing-type aux_loss seq_aux_loss global_aux_loss
      --moe-aux-loss-coeff 1e-2 1e-2 1e-2 --moe-z-loss-coeff 1e-3 --global-batch-size 12"
    [bias]="--moe-router-score-function sigmoid --moe-router-enable-expert-bias --moe-router-num-groups 4
      --moe-router-group-topk 2 --moe-router-topk 4 --moe-router-topk-scaling-factor 2.5"
    [softplus]="--moe-router-score-function sqrtsoftplus --moe-aux-loss-coeff 1e-2 --moe-input-jitter-eps 0.1"
    [forced]="--moe-router-force-load-balancing"
    [probs]="--moe-router-pre-softmax --moe-expert-capacity-factor 1"
    [position]="--moe-expert-capacity-factor 1 --moe-token-drop-policy position"
    [padded]="--moe-expert-capacity-factor 1.5 --moe-pad-expert-input-to-capacity"
    [beside]="--moe-shared-expert-intermediate-size 64 --moe-shared-expert-gate --add-expert-bias --relu"
    [all]="--num-experts 40 --top-k 40 --squared-relu --add-expert-bias"
  )
  local routed="--num-experts 8 --moe-ffn-hidden-size 64"
  local steady="--device cuda --bf16 --deterministic-mode"
  at_most() { while [ "$(jobs -rp | wc -l)" -ge "$1" ]; do wait -n; done; }
  for kind in "${!routers[@]}"; do
    local flags="$small $routed ${routers[$kind]}"
    at_most 8
    train "cpu_$kind" $flags --num-threads 2 &
    train "gpu_$kind" $flags --device cuda &
    train "graph_$kind" $flags $steady &
    train "none_$kind" $flags $steady --cuda-graph off &
  done
  wait
  for kind in "${!routers[@]}"; do
    compare "cpu_$kind" "gpu_$kind" 1e-4 12
    compare "gpu_$kind" "graph_$kind" 2e-3 12
    compare "graph_$kind" "none_$kind" 0 12
    grep -q 'captured the micro-step' "$out/graph_$kind.log" ||
      say "the micro-step of $kind is captured" "FAILED ($(grep -m1 'cannot be captured' "$out/graph_$kind.log"))"
  done
}

# Transformer-XL on the bytes of a file.
txl() {
  local kind size
  size=$(stat -c %s "$data")
  local bytes="--data-file $data --split-bytes $((size / 10 * 9)),$((size / 20)),$((size / 20))"
  local tiny="--n-layer 3 --d-model 128 --n-head 4 --d-head 32 --d-inner 256 --tgt-len 48 --mem-len 48
    --eval-tgt-len 32 --batch-size 5 --eval-batch-size 5 --max-eval-steps 20 --max-step 12 --log-interval 1
    --eval-interval 6 --lr 1e-3 $bytes"
  local few="--num-experts 8 --top-k 2 --moe-ffn-hidden-size 128 --balance-strategy naive --add-expert-bias"
  local steady="--device cuda --bf16 --deterministic-mode"
  local -A shapes=(
    [plain]="" [drops]="--dropout 0.1 --dropatt 0.1" [before]="--pre-lnorm --dropout 0.1"
    [same]="--same-length --clamp-len 60 --mem-len 70" [long]="--mem-len 111 --tgt-len 37"
    [extended]="--ext-len 16 --mem-len 32" [none]="--mem-len 0"
    [clusters]="--adaptive --cutoffs 20 40 --div-val 2" [odd]="--d-head 40 --n-head 3"
    [experts]="$few --dropout 0.1"
    [padded]="$few --ext-len 16 --mem-len 32"
    [capacity]="--num-experts 8 --moe-router-topk 2 --moe-ffn-hidden-size 128 --ext-len 16 --mem-len 32
      --moe-router-load-balancing-type aux_loss global_aux_loss --moe-aux-loss-coeff 1e-2 1e-2
      --moe-expert-capacity-factor 1.25 --moe-router-score-function sigmoid --moe-router-enable-expert-bias
      --moe-z-loss-coeff 1e-3"
  )
  trainxl() { local name=$1; shift; run "$name" pretrain-txl "$@" --work-dir "$out/$name"; }
  at_most() { while [ "$(jobs -rp | wc -l)" -ge "$1" ]; do wait -n; done; }
  for kind in "${!shapes[@]}"; do
    local flags="$tiny ${shapes[$kind]}"
    at_most 8
    trainxl "cpu_$kind" $flags --num-threads 2 &
    trainxl "gpu_$kind" $flags --device cuda &
    trainxl "graph_$kind" $flags $steady &
    trainxl "none_$kind" $flags $steady --cuda-graph off &
  done
  wait
  for kind in "${!shapes[@]}"; do
    compare "cpu_$kind" "gpu_$kind" 1e-4 12
    compare "gpu_$kind" "graph_$kind" 5e-3 12
    compare "graph_$kind" "none_$kind" 0 12
    grep -q 'captured the micro-step' "$out/graph_$kind.log" ||
      say "the micro-step of $kind is captured" "FAILED ($(grep -m1 'cannot be captured' "$out/graph_$kind.log"))"
  done

  # Killed in mid-epoch, and taken up from its last checkpoint: the memories come along.
  local resumed="$tiny ${shapes[experts]} $steady --max-step 40 --save-interval 5 --eval-interval 20"
  trainxl xl_whole $resumed
  trainxl xl_cut $resumed &
  until grep -qE 'step *13 |^status' "$out/xl_cut.log" 2>/dev/null; do sleep 0.05; done
  pkill -9 -f -- "--work-dir $out/xl_cut\$"
  wait
  trainxl xl_cut $resumed --restart
  compare xl_whole xl_cut 0 40

  for kind in base base-moe64; do
    run "xl_$kind" bench txl --preset "enwik8-$kind" $bytes --max-step 160 --log-interval 20 \
      --eval-interval 1000 --max-eval-steps 100 --warmup-steps 40
    grep 'step time' "$out/xl_$kind.log" || say "bench txl $kind" "FAILED ($(tail -2 "$out/xl_$kind.log"))"
    run "xl_profile_$kind" pretrain-txl --preset "enwik8-$kind" $bytes --max-step 30 --log-interval 10 \
      --eval-interval 1000 --max-eval-steps 20 --work-dir "$out/xl_profile_$kind" --profile \
      --profile-step-start 20 --profile-step-end 25
    cp "$out/xl_profile_$kind.log" "$out/xl_profile_$kind.txt" && rm -rf "$out/xl_profile_$kind"
  done
}

# The same losses from several processes as from one: over Gloo on one GPU, started by moe4j launch and by
# torchrun where there is one; over NCCL where there are two GPUs, captured where the host need not know sizes.
ranks() {
  local name gpus
  gpus=$(nvidia-smi -L | wc -l)
  local experts8="$small --global-batch-size 8 --hidden-dropout 0.1 --num-experts 8 --moe-ffn-hidden-size 64
    --moe-aux-loss-coeff 1e-2 --device cuda"
  local -A layouts=(
    [tp2]="--tensor-model-parallel-size 2"
    [tp2_sp]="--tensor-model-parallel-size 2 --sequence-parallel"
    [dp2_zero]="--use-distributed-optimizer --overlap-grad-reduce"
    [ep2]="--expert-model-parallel-size 2"
    [ep2_parts]="--expert-model-parallel-size 2 --moe-a2a-overlap-degree 2"
    [ep2_gather]="--expert-model-parallel-size 2 --moe-token-dispatcher-type allgather"
    [ep2_padded]="--expert-model-parallel-size 2 --moe-expert-capacity-factor 8
      --moe-pad-expert-input-to-capacity"
  )
  of() { run "$1" launch --nproc-per-node 2 -- "$moe4j" pretrain-gpt "${@:2}" --metrics-dir "$out/$1"; }
  train one $experts8
  train one_bf16 $experts8 --bf16
  for name in "${!layouts[@]}"; do
    of "gloo_$name" $experts8 ${layouts[$name]} --distributed-backend gloo
    compare one "gloo_$name" 1e-4 12
    [ "$gpus" -ge 2 ] || continue
    of "nccl_$name" $experts8 ${layouts[$name]}
    compare one "nccl_$name" 1e-4 12
    of "graph_$name" $experts8 ${layouts[$name]} --bf16
    compare one_bf16 "graph_$name" 3e-3 12
    say "graphs of $name" "$(grep -hoE 'captured the [a-z -]*|going on without CUDA graphs.*|cannot be captured.*' \
      "$out/graph_$name.log" | sort -u | paste -sd';')"
  done
  if command -v torchrun >/dev/null; then
    torchrun --nproc-per-node 2 --no-python "$moe4j" pretrain-gpt $experts8 ${layouts[tp2_sp]} \
      --distributed-backend gloo --metrics-dir "$out/torchrun" >"$out/torchrun.log" 2>&1
    compare one torchrun 1e-4 12
  fi
  [ "$gpus" -ge 2 ] || return 0
  "$moe4j" launch --nproc-per-node 2 -- "$moe4j" bench comm --device cuda | grep -v Gloo
  of2() { "$moe4j" launch --nproc-per-node 2 -- "$moe4j" bench gpt "${@:2}" --log-interval 10 --train-iters 40 \
    --warmup-steps 10 >"$out/$1.log" 2>&1; echo "$1: $(grep -h 'step time' "$out/$1.log")"; }
  run bench_one bench gpt $gpt2 --micro-batch-size 32 --log-interval 10 --train-iters 40 --warmup-steps 10
  echo "one: $(grep -h 'step time' "$out/bench_one.log")"
  of2 dp2 $gpt2 --micro-batch-size 32
  of2 dp2_zero $gpt2 --micro-batch-size 32 --use-distributed-optimizer --overlap-grad-reduce
  of2 tp2_sp $gpt2 --micro-batch-size 32 --tensor-model-parallel-size 2 --sequence-parallel
  of2 tp2 $gpt2 --micro-batch-size 32 --tensor-model-parallel-size 2
  run bench_experts bench gpt $gpt2 $experts --micro-batch-size 16 --log-interval 10 --train-iters 40 --warmup-steps 10
  echo "one, experts: $(grep -h 'step time' "$out/bench_experts.log")"
  of2 ep2 $gpt2 $experts --micro-batch-size 16 --expert-model-parallel-size 2
  of2 ep2_gather $gpt2 $experts --micro-batch-size 16 --expert-model-parallel-size 2 --moe-token-dispatcher-type allgather
}

bench() {
  local name=$1
  shift
  run "$name" bench gpt "$@" --log-interval 10 --train-iters 60 --warmup-steps 10 --compare-cuda-graph
  succeeded "$name" && say "bench $name" ok || say "bench $name" FAILED
  grep -hE 'tokens/s|times as fast' "$out/$name.log" | grep -v '] iteration'
}

speed() {
  bench dense32 $gpt2 --micro-batch-size 32
  bench dense64 $gpt2 --micro-batch-size 64
  bench dense350m $gpt2_350m --micro-batch-size 32
  bench experts32 $gpt2 $experts --micro-batch-size 32
  run bench_kernels bench kernels --device cuda --bf16
  succeeded bench_kernels && say "bench kernels" ok || say "bench kernels" FAILED
  grep -v '^status' "$out/bench_kernels.log"
  run bench_moe bench moe --device cuda --bf16 --shape A,C8,C32,C96,C128,B,D,G,X64,X128,F --rounds 10
  succeeded bench_moe && say "bench moe" ok || say "bench moe" FAILED
  grep -v '^status' "$out/bench_moe.log"
}

# What the sanitizer finds in our kernels. It also finds fault with libraries' kernels, and with the
# calls that the checks mean to fail.
sanitize() {
  local tool kernels
  for tool in memcheck racecheck synccheck; do
    compute-sanitizer --tool $tool "$moe4j" selftest --device cuda >"$out/$tool.log" 2>&1
    kernels=$(grep '^=========' "$out/$tool.log" | grep -oE ' at [A-Za-z_0-9]+\+0x' | grep -vE ' at (nvjet_|_Z)' | sort -u)
    if ! grep -q 'findings, 0 failed' "$out/$tool.log" || ! grep -q 'SUMMARY' "$out/$tool.log"; then
      say "$tool" "FAILED (the checks did not pass)"
    elif [ -n "$kernels" ]; then
      say "$tool" "FAILED ($(paste -sd' ' <<<"$kernels"))"
    else
      say "$tool" ok
    fi
  done
}

case $part in
  checks | routes | ranks | speed | txl | sanitize) "$part" ;;
  *) echo "gpu.sh: checks, routes, ranks, speed, txl or sanitize, not '$part'" >&2; exit 2 ;;
esac
echo "$failed failed"
[ "$failed" = 0 ]
