#!/bin/bash
# Builds the targets of fuzz/ for ClusterFuzzLite and OSS-Fuzz: $SRC/cnitest is this repository, each target goes to $OUT with
# its seeds. Seeds are the corpus and what once made the target fail.
set -euo pipefail
cd "$SRC/cnitest"
target=${CARGO_TARGET_DIR:-$PWD/target}
# As the profile `fuzz` of this workspace, which cargo-fuzz does not know.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
case ${SANITIZER:-address} in
    coverage)
        # Their wrapper of cargo knows no features, so it is not asked for `cargo fuzz`.
        cargo build --package cnitest-fuzz --features libfuzzer --bins
        built=$target/debug
        ;;
    *)
        cargo fuzz build --fuzz-dir fuzz --target-dir "$target" --release --debug-assertions --features libfuzzer
        host=$(rustc -vV | sed -n 's/^host: //p')
        built=$target/$host/release
        ;;
esac
for source in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    cp "$built/$name" "$OUT/"
    seeds=("fuzz/corpus/$name")
    [ ! -d "fuzz/regressions/$name" ] || seeds+=("fuzz/regressions/$name")
    rm -f "$OUT/${name}_seed_corpus.zip"
    zip --quiet --junk-paths --recurse-paths "$OUT/${name}_seed_corpus.zip" "${seeds[@]}"
    printf '[libfuzzer]\nmax_len = 65536\ntimeout = 60\n' >"$OUT/$name.options"
done
