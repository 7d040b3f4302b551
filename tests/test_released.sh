#!/bin/sh
# test_released.sh - folders of released models: replay holds each to the results of its reference, in
# both types, and fails on spoiled ones; programs take a folder where they take a checkpoint; what
# train_lm exports is loaded by transformers, where that is, with the same logits.
set -u
B=${B:-build}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
failed=0
hf=tests/data/hf
# Threads would only wait for each other here.
OMP_NUM_THREADS=1
export OMP_NUM_THREADS

fail() {
    echo "FAIL: $*"
    failed=1
}
runs() { # words command...
    words=$1
    shift
    "$@" >"$dir/said" 2>&1 || fail "$*: status $?: $(tail -n 3 "$dir/said")"
    grep -qF -e "$words" "$dir/said" || fail "$*: no word of $words: $(tail -n 3 "$dir/said")"
}
refuses() { # words command...
    words=$1
    shift
    if "$@" >"$dir/said" 2>&1; then fail "$* was accepted"; fi
    grep -qF -e "$words" "$dir/said" || fail "$*: no word of $words: $(tail -n 3 "$dir/said")"
}

# ---- Results of the references ----
models="falcon_h1 fla_gdn granite4h lfm2 mamba2 nemotron_h olmo_hybrid qwen3_5"
for m in $models; do
    "$B/tests/replay" --folder $hf/$m $hf/$m.h5 >"$dir/$m.log" 2>&1 ||
        fail "replay of $m: $(grep FAIL "$dir/$m.log" | head -n 3)"
done
# A result that is other, a folder that is other, and one that is missing.
"$B/tests/replay" --dtype f64 --folder $hf/mamba2 $hf/fla_gdn.h5 >"$dir/said" 2>&1 && fail "another model's results pass"
refuses "config.json" "$B/tests/replay" --folder "$dir" $hf/mamba2.h5
refuses "usage" "$B/tests/replay" --folder
for p in python3 /usr/bin/python3; do
    "$p" -c 'import h5py' 2>/dev/null || continue
    "$p" - "$hf" "$dir" <<'END' >"$dir/list" || exit 1
import h5py, shutil, sys
source, target = sys.argv[1:]
def spoil(name, change):
    path = f"{target}/spoiled-{name.replace('/', '-')}.h5"
    shutil.copyfile(f"{source}/mamba2.h5", path)
    with h5py.File(path, "r+") as f:
        change(f)
    print(path, name)
for name in ("out/logits", "out/logits_last", "out/score", "out/state/1", "out/ablate", "out/losses", "out/grad_norms",
             "out/lrs", "grad/params/backbone.layers.1.mixer.A_log"):
    spoil(name, lambda f: f[name].__setitem__(..., f[name][...] * (1 + 3e-6)))
spoil("out/greedy", lambda f: f["out/greedy"].__setitem__(20, 1))
spoil("out/extra", lambda f: f["out"].create_dataset("extra", data=[1.0]))
spoil("out/state/2", lambda f: f.__delitem__("out/state/2"))
END
    while read -r file name; do
        # One of each kind: the numbers of an output, tokens, a state, a gradient, and what is too much or missing.
        case ${PAL_TEST_ALL:-0},$name in 1,* | *,out/logits | *,out/greedy | *,out/state/2 | *,out/extra | *,grad/*) ;; *) continue ;; esac
        refuses "FAIL  $name" "$B/tests/replay" --dtype f64 --folder $hf/mamba2 "$file"
    done <"$dir/list"
    [ -s "$dir/list" ] || fail "nothing was spoiled"
    break
done

# ---- Programs ----
g=$hf/granite4h
head -c 20000 README.md >"$dir/text.txt"
runs "written 5 tokens" "$B/examples/generate" $g "The delta rule" --tokens 5
runs "bits per byte" "$B/examples/generate" $g --score "The delta rule"
runs "" "$B/examples/inspect" $g --text "The delta rule"
runs "falcon_h1                  1    5  mamba2" "$B/examples/inspect" $hf/falcon_h1 --text "The delta rule"
refuses "--text or --data has to say" "$B/examples/inspect" $g
runs "tokenizer  330 tokens" "$B/examples/tokenize" --tokenizer $g --out "$dir/data.h5" "$dir/text.txt"
runs "" "$B/examples/inspect" $g --data "$dir/data.h5" --tokens 20
runs "| 2 | attn |" "$B/examples/ablate" --layers $g --data "$dir/data.h5" --rows 1
refuses "a released model names no data" "$B/examples/ablate" --layers $g
lm() { # OUT flags...
    out=$1
    shift
    "$B/examples/train_lm" --data "$dir/data.h5" --batch 1 --len 16 --sample 0 --out "$dir/$out" "$@"
}
runs "export  $dir/same, a folder like $g" lm still --init $g --steps 1 --warmup 0 --lr 1e-300 --weight-decay 0 --export "$dir/same"
cmp -s $g/model.safetensors "$dir/same/model.safetensors" || fail "a model that did not change is exported as another"
runs "export" lm moved --init $g --steps 2 --export "$dir/moved-out"
cmp -s $g/model.safetensors "$dir/moved-out/model.safetensors" && fail "training changes nothing that is exported"
runs "export" lm again --init "$dir/moved/step-00000002.h5" --steps 1 --export "$dir/again-out"
runs "export" "$B/examples/train_lm" --resume --out "$dir/again" --sample 0 --export "$dir/resumed-out"
cmp -s "$dir/again-out/model.safetensors" "$dir/resumed-out/model.safetensors" || fail "a later export is another"
runs "written 3 tokens" "$B/examples/generate" "$dir/again/step-00000001.h5" "Hello" --tokens 3
refuses "overwrites nothing" lm no --init $g --export "$dir/same"
refuses "--like has to name the folder" lm no --export "$dir/new"
refuses "--width is 16, and the model has 32" lm no --init $g --width 16
refuses "another tokenizer" "$B/examples/train_lm" --init $g --data "$dir/text.txt" --out "$dir/no"
[ ! -e "$dir/new" ] || fail "a folder was made"
mkdir "$dir/pickle"
sed 's/"use_cache"/"new_key": 1, "use_cache"/' $g/config.json >"$dir/same/config.json"
runs "note    $dir/same: config.json: new_key is not known" "$B/examples/generate" "$dir/same" Hello --tokens 1
cp $hf/mamba2/config.json "$dir/pickle"
: >"$dir/pickle/pytorch_model.bin"
refuses "convert.py" "$B/examples/generate" "$dir/pickle" Hello
refuses "is a folder without config.json" "$B/examples/generate" "$dir/moved" Hello

# ---- Where a text ends, and several at once ----
cp -r $g "$dir/ends"
e=$(grep -o '"e": [0-9]*' $g/tokenizer.json | head -n 1 | cut -d' ' -f2)
gen() { "$B/examples/generate" "$@" --temperature 0 2>"$dir/said"; }
[ "$(gen $g "The delta rule" --tokens 4)" = "The delta ruleeeee" ] || fail "other tokens than e: test another text here"
echo "{\"eos_token_id\": [2, $e]}" >"$dir/ends/generation_config.json"
[ "$(gen "$dir/ends" "The delta rule" --tokens 4)" = "The delta rule" ] || fail "generation_config.json does not end a text: $(cat "$dir/said")"
rm "$dir/ends/generation_config.json"
[ "$(gen "$dir/ends" "The delta rule" --tokens 4)" = "The delta ruleeeee" ] || fail "a text ends without reason: $(cat "$dir/said")"
sed -i "s/\"eos_token_id\": [0-9]*/\"eos_token_id\": $e/" "$dir/ends/config.json"
[ "$(gen "$dir/ends" "The delta rule" --tokens 4)" = "The delta rule" ] || fail "config.json does not end a text: $(cat "$dir/said")"
printf 'The delta rule\nab\nHello world again\n' >"$dir/prompts"
if [ "${PAL_TEST_ALL:-0}" = 1 ]; then several="falcon_h1 mamba2"; else several=mamba2; fi
for m in $several; do
    gen $hf/$m --prompts "$dir/prompts" --tokens 5 >"$dir/several"
    for prompt in "The delta rule" "Hello world again"; do
        alone=$(gen $hf/$m "$prompt" --tokens 5 | tr '\n' ' ')
        tr '\n' ' ' <"$dir/several" | grep -qF -e "$alone" || fail "$m: '$prompt' beside others is another text"
    done
done

# ---- Weights that would not fit in f32 ----
score() { "$B/examples/generate" $g --score --plain "$@" "The delta rule" 2>"$dir/said"; }
score >"$dir/f32" && grep -q 'stay in bf16' "$dir/said" && fail "weights that fit stay in bf16"
score --dtype bf16 >"$dir/bf16"
cmp -s "$dir/f32" "$dir/bf16" && fail "--dtype bf16 changes nothing"
PAL_MEMORY=1000 score >"$dir/less" || fail "weights that do not fit: $(cat "$dir/said")"
cmp -s "$dir/less" "$dir/bf16" || fail "weights that do not fit are not in bf16"
grep -q '^note .*its weights stay in bf16: in f32 they would take .* GB' "$dir/said" || fail "no line says it: $(cat "$dir/said")"
PAL_MEMORY=1000 score --dtype f32 >"$dir/less" && grep -q 'stay in bf16' "$dir/said" && fail "--dtype f32 is not obeyed"
cmp -s "$dir/less" "$dir/f32" || fail "--dtype f32 gives other numbers"
PAL_MEMORY=1000000000 score >"$dir/less" && cmp -s "$dir/less" "$dir/f32" || fail "a billion bytes are not enough"

# ---- What it costs ----
if [ -x "$B/bench/generate" ]; then
    # It measures the machine, too, which takes longer than the models here.
    if [ "${PAL_TEST_ALL:-0}" = 1 ]; then
        "$B/bench/generate" --layers 4 --width 64 --vocab 500 --prompt 9 --tokens 2 --runs 1 >"$dir/said" 2>&1 || fail "bench/generate: $(cat "$dir/said")"
        for word in "parameters 5" "load " "of sgemm" "of what is read" "of 4 bytes a parameter"; do
            grep -q "$word" "$dir/said" || fail "bench/generate: no word of $word: $(cat "$dir/said")"
        done
        runs "of 2 bytes a parameter" "$B/bench/generate" --folder $g --prompt 70 --tokens 2 --runs 1 --precision bf16 --csv "$dir/costs.csv"
        grep -q '^precision,threads,' "$dir/costs.csv" && grep -q '^bf16,' "$dir/costs.csv" || fail "its numbers: $(cat "$dir/costs.csv")"
    fi
    refuses "config.json" "$B/bench/generate" --folder "$dir/moved"
fi

# ---- transformers ----
python=
for p in ${HF_PYTHON:-} python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$p" -c 'import transformers, torch, h5py' 2>/dev/null; then python=$p; fi
done
if [ -z "$python" ]; then
    echo "note: what is exported is not loaded by transformers: no python3 with transformers, torch and h5py (HF_PYTHON names one)"
else
    folders=
    for m in falcon_h1 granite4h lfm2 mamba2 nemotron_h olmo_hybrid qwen3_5; do
        runs "tokens" "$B/examples/tokenize" --tokenizer $hf/$m --out "$dir/$m.tokens.h5" "$dir/text.txt"
        runs "export" "$B/examples/train_lm" --data "$dir/$m.tokens.h5" --batch 1 --len 16 --sample 0 --out "$dir/run-$m" \
            --init $hf/$m --steps 2 --lr 0.01 --warmup 0 --export "$dir/$m"
        cmp -s "$hf/$m/model.safetensors" "$dir/$m/model.safetensors" && fail "$m: training changes nothing that is exported"
        folders="$folders $dir/$m"
    done
    # shellcheck disable=SC2086 # the folders are to be split
    "$python" tests/against_transformers.py "$B/tests/replay" --folder $folders >"$dir/said" 2>&1 || fail "transformers: $(cat "$dir/said")"
    # Random models of other sizes, options and spellings; all of them are 4 minutes.
    words=": as it is"
    [ -n "${PAL_TEST_ALL:-}" ] && words=
    "$python" tests/against_transformers.py "$B/tests/replay" "$words" >"$dir/said" 2>&1 || fail "random models: $(cat "$dir/said")"
fi

[ $failed = 0 ] && echo "folders of released models are opened, held to their results, trained and exported"
exit $failed
