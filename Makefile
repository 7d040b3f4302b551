# Palimpsest: everything is built into $(B). `make help` lists the targets.
#   make V=1            shows the commands            make CC=clang     another compiler
#   make B=DIR          another build folder          make SAN=address  a sanitizer (address, undefined)
B      ?= build
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC     := gcc
endif
Q      := $(if $(V),,@)

VERSION   := 0.1.0
SOVERSION := 0

.DEFAULT_GOAL := all
include config.mk
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion
OPT      ?= -O3
CFLAGS   ?= -g
MACHINE  := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# No -ffast-math: NaN checks and reproducible sums depend on it. Contraction is off so that a fused multiply-add is
# used where simd.h says so, and nowhere else.
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARN) $(OPT) -fPIC -fopenmp -fvisibility=hidden \
              -fno-math-errno -fno-trapping-math -ffp-contract=off -I. $(SANFLAGS) $(CROSS_FLAGS) $(CFLAGS)
LIB_CFLAGS := $(patsubst -I%,-isystem %,$(if $(PKGS),$(shell $(PKG_CONFIG) --cflags-only-I $(PKGS)))) -isystem $(BLIS_INC)
LDLIBS     := $(if $(PKGS),$(shell $(PKG_CONFIG) --libs $(PKGS))) $(BLIS_LIB) -lm $(if $(filter yes,$(DNNL)),-ldl)
ALL_LDFLAGS = -fopenmp $(SANFLAGS) $(CROSS_FLAGS) $(LDFLAGS)

# ---- Sources, by wildcard ---------------------------------------------------------------------------------------
# Objects go to $(B)/obj under the names of their sources. Rooms are the folders of the library.
ROOMS  := tensor tensor/files tensor/text autograd autograd/ops layers layers/rules layers/rules/fused layers/attention layers/kernel \
          layers/modules layers/mixers layers/models layers/models/families optim/optimisers optim/data optim/train optim/ranks
SRC    := $(call present,$(filter-out %.k.c,$(wildcard $(ROOMS:%=%/*.c))))
KSRC   := $(wildcard $(ROOMS:%=%/kernels/*.k.c))
OBJ    := $(SRC:%.c=$(B)/obj/%.o)

# One kernel text, compiled for two types and each instruction set of the machine (PAL_SETS of tensor/internal.h). No parser calls one, and libFuzzer's build is sooner
# done if they are left as they are.
SETS       := base $(if $(filter x86_64,$(MACHINE)),avx2 avx512) $(if $(filter aarch64,$(MACHINE)),neon)
ISA_base   :=
ISA_avx2   := -mavx2 -mfma
ISA_neon   := -DPAL_NEON
ISA_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma
REAL_f32   := float
REAL_f64   := double
define KERNEL_RULE
$(B)/obj/%.$(1).$(2).o: %.k.c $(B)/flags
	@mkdir -p $$(@D)
	$(if $(V),,@echo "  CC      $$<  [$(1) $(2)]")
	$(Q)$$(CC) $$(ALL_CFLAGS) $$(if $$(LIBFUZZER),-fno-sanitize=all) $(ISA_$(2)) -DREAL=$(REAL_$(1)) -DSUFFIX=_$(1)_$(2) -MMD -MP -c $$< -o $$@
KOBJ += $(KSRC:%.k.c=$(B)/obj/%.$(1).$(2).o)
endef
KOBJ :=
$(foreach t,f32 f64,$(foreach i,$(SETS),$(eval $(call KERNEL_RULE,$(t),$(i)))))

# Public headers; the others stay in the tree.
HEADERS := palimpsest.h $(addprefix tensor/,tensor.h comm.h key.h text.h) $(addprefix autograd/,autograd.h ops.h params.h) \
           $(addprefix layers/,layers.h rules.h modules.h kernel.h mixers.h own.h blocks.h model.h probe.h) $(addprefix optim/,optim.h data.h train.h dist.h)

# The objects of folders: $(call objects,examples/lm bench/rules).
objects   = $(patsubst %.c,$(B)/obj/%.o,$(call present,$(wildcard $(1:%=%/*.c))))
TESTS    := $(patsubst tests/%.c,$(B)/tests/%,$(call present,$(wildcard tests/test_*.c tests/replay.c)))
# Programs of several processes, which tests/test_dist_*.sh start by mpirun.
RANKED   := $(patsubst tests/%.c,$(B)/tests/%,$(call present,$(wildcard tests/dist_*.c)))
CASES    := $(patsubst %.c,$(B)/obj/%.o,$(call present,$(wildcard tests/case_*.c))) $(call objects,tests/support)
EXAMPLES := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
# Fuzzers of text parsers; `make fuzz` lets libFuzzer drive them, and the others are driven by tests/fuzz/frame/driver.c.
FUZZERS  := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(call present,$(wildcard tests/fuzz/*.c)))
LIBFUZZER := $(findstring fuzzer,$(SAN))
FRAME    := $(filter-out $(if $(LIBFUZZER),%/driver.o),$(call objects,tests/fuzz/frame))
BENCHES  := $(patsubst bench/%.c,$(B)/bench/%,$(call present,$(wildcard bench/*.c)))
# What the programs of examples share, and what those of bench share.
SHARED   := $(call objects,examples/flags examples/lm examples/tasks)
MEASURE  := $(call objects,bench/measure examples/flags)
SHARED_A := $(B)/libexamples.a
# Linked into each of these programs, although nothing calls them.
STREAMS  := $(addprefix $(B)/obj/examples/flags/,streams.o version.o)
# The programs that take mixers of one's own (PAL_MIXERS): they show such a file all of the library.
PLUGGED  := $(filter-out %/check %/palimpsest %/kernels $(B)/examples/0% $(B)/examples/1%,$(EXAMPLES))
PLUGINS  := $(B)/obj/examples/flags/plugins.o
LIB_A    := $(B)/libpalimpsest.a
LIB_SO   := $(B)/libpalimpsest.so.$(VERSION)
# Folders of everything that is compiled, and what the example language model reads by default: the sources and texts of
# this project, in byte order of their names.
FOLDERS  := $(patsubst %/,%,$(sort $(dir $(wildcard $(ROOMS:%=%/*.[ch]) examples/*.c examples/*/*.c tests/*.c tests/support/*.c bench/*.c bench/*/*.c))))
CORPUS   := $(sort $(wildcard *.md *.h docs/*.md optim/*.h $(ROOMS:%=%/kernels/*.c) $(foreach d,$(FOLDERS),$(d)/*.c $(d)/*.h)))

.PHONY: all lib programs fuzz fuzz-texts fuzz-files check-fuzz check check-all check-asan check-ubsan check-clang check-sample sample \
        check-tsan races bench examples demo half-hour figure-demo \
        figure-half-hour docs install install-man man dist deb check-arm uninstall format format-check check-isa clean help FORCE
all: lib $(if $(CHECK),$(TESTS) $(RANKED)) examples programs bench ## everything, into build/
programs: $(addprefix $(B)/programs/,train_lm generate tokenize inspect ablate recall check) ## those that are installed, and others with shared libraries
lib: $(LIB_A) $(LIB_SO) ## the static and the shared library
examples: $(EXAMPLES) $(B)/corpus.txt ## build/examples/*
bench: $(BENCHES) ## build/bench/*

# ---- Rules --------------------------------------------------------------------------------------------------------
# A change of compiler or flags rebuilds everything. What one target adds to them is private, or else it would count as
# a change wherever that target is made first.
FLAGS = $(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) $(ALL_LDFLAGS) $(LDLIBS)
$(B)/flags: FORCE $(B)/left-out
	@mkdir -p $(B)
	@echo '$(FLAGS)' | cmp -s - $@ || \
	 echo '$(FLAGS)' > $@

# The commit, for pal_code_version: a header of its own, so that a commit recompiles one file.
$(B)/gen/commit.h: FORCE
	@mkdir -p $(@D)
	@commit=$$(test -e .git && git describe --always --abbrev=12 --exclude='*' --dirty=+ 2>/dev/null); \
	 echo "#define PAL_COMMIT \"$${commit:+ $$commit}\"" | cmp -s - $@ || \
	 echo "#define PAL_COMMIT \"$${commit:+ $$commit}\"" > $@
$(B)/obj/optim/train/version.o: $(B)/gen/commit.h
$(B)/obj/optim/train/version.o: private LIB_CFLAGS += -I$(B)/gen

# The page of inspect, with the scripts that the course has too, as C strings, a line each.
$(B)/gen/page.inc: examples/inspect/page.html examples/inspect/memory.js examples/inspect/view.js
	@mkdir -p $(@D)
	$(Q)sed -e '/MEMORY/r examples/inspect/memory.js' -e '/MEMORY/r examples/inspect/view.js' -e '/MEMORY/d' $< | \
	    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/"&\\n"/' > $@
$(B)/obj/examples/inspect/page.o: $(B)/gen/page.inc
$(B)/obj/examples/inspect/page.o: private LIB_CFLAGS += -I$(B)/gen

$(B)/obj/tensor/onednn.o: private LIB_CFLAGS += $(patsubst %,-DPAL_DNNL_SONAME='"%"',$(DNNL_SONAME))

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) $(CPPFLAGS_$(firstword $(subst /, ,$<))) -MMD -MP -c $< -o $@

# q, not r: files of one name in different folders are different members.
define ARCHIVE
	@rm -f $@
	$(if $(V),,@echo "  AR      $@")
	$(Q)$(AR) qcs $@ $^
endef
$(LIB_A): $(OBJ) $(KOBJ)
	$(ARCHIVE)
$(SHARED_A): $(SHARED)
	$(ARCHIVE)

# Sanitizers leave their symbols to the program.
NO_UNDEFINED := $(if $(SAN),,-Wl,--no-undefined)
$(LIB_SO): $(OBJ) $(KOBJ)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) -shared -Wl,-soname,libpalimpsest.so.$(SOVERSION) $(NO_UNDEFINED) $(ALL_LDFLAGS) $^ $(LDLIBS) -o $@
	$(Q)ln -sf $(@F) $(B)/libpalimpsest.so.$(SOVERSION)
	$(Q)ln -sf $(@F) $(B)/libpalimpsest.so

# What tests need beside the library.
CHECK_LIBS     := $(if $(CHECK),$(shell $(PKG_CONFIG) --libs check $(if $(CJSON),libcjson)))
CPPFLAGS_tests := $(patsubst -I%,-isystem %,$(if $(CHECK),$(shell $(PKG_CONFIG) --cflags-only-I check $(if $(CJSON),libcjson))))

# Libraries of the programs. They carry HDF5 where it has an archive: its shared library leads to thirty others, for files
# behind a network, and loading these took most of the time of a short program. With a sanitizer it stays
# shared, because tests/lsan.supp knows it by its name.
CARRIED := $(if $(SAN),,$(patsubst -lhdf5,-Wl$(comma)-Bstatic -lhdf5 -Wl$(comma)-Bdynamic -lsz -lz -ldl,$(LDLIBS)))
$(B)/libraries: $(B)/flags
	$(Q)libraries='$(LDLIBS)'; $(if $(CARRIED),if echo 'int H5Fopen(void); int main(void) { return H5Fopen(); }' | \
	    $(CC) $(ALL_LDFLAGS) -x c - -x none $(CARRIED) -o $@.tmp 2>/dev/null; then libraries='$(CARRIED)'; fi; rm -f $@.tmp;) \
	echo "$$libraries" > $@

# A program X is linked of X.c, the folder X beside it, and what programs of its kind share. Archives hand over only
# what is asked for, and a library that nothing asks for is left out. What shared libraries ask of others is not looked
# at: HDF5 leads to fifty of them, and looking took a third of the time.
.SECONDEXPANSION:
LIBRARIES :=
define LINK
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--as-needed,--allow-shlib-undefined $(filter %.o,$^) $(filter-out $(WHOLE),$(filter %.a,$^)) \
	    $(if $(WHOLE),-rdynamic -Wl$(comma)--whole-archive $(WHOLE) -Wl$(comma)--no-whole-archive) $(1) $(or $(LIBRARIES),$$(cat $(B)/libraries)) $(if $(WHOLE),-ldl) -o $@
endef
PLUGGED += $(PLUGGED:$(B)/examples/%=$(B)/programs/%)
$(PLUGGED): $(PLUGINS)
$(PLUGGED): private WHOLE := $(LIB_A)
$(B)/examples/%: $(B)/obj/examples/%.o $$(call objects,examples/$$*) $(STREAMS) $(SHARED_A) $(LIB_A) $(B)/libraries
	$(call LINK)
# The same with all libraries shared: these are installed, and a new HDF5 of the system is theirs at once.
$(B)/programs/%: $(B)/obj/examples/%.o $$(call objects,examples/$$*) $(STREAMS) $(SHARED_A) $(LIB_A)
	$(call LINK)
$(B)/programs/%: private LIBRARIES := $(LDLIBS)
# The program that the others start before they open a file (examples/flags/checked.h).
$(filter-out $(B)/examples/check,$(EXAMPLES)): | $(B)/examples/check
$(addprefix $(B)/programs/,train_lm generate tokenize inspect ablate recall): | $(B)/programs/check
$(B)/bench/%: $(B)/obj/bench/%.o $$(call objects,bench/$$*) $(MEASURE) $(LIB_A) $(B)/libraries
	$(call LINK)
$(B)/tests/dist_%: $(B)/obj/tests/dist_%.o $(CASES) $(SHARED_A) $(LIB_A) $(B)/libraries
	$(call LINK,$(CHECK_LIBS))
# Fuzzers of what only one program has.
$(B)/fuzz/script: $(call objects,examples/inspect)
$(B)/fuzz/study: $(filter-out %/study.o,$(call objects,examples/ablate))
$(B)/fuzz/result: $(call objects,examples/ablate)
$(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(FRAME) $(SHARED_A) $(LIB_A) $(B)/libraries
	$(call LINK,$(if $(LIBFUZZER),-fsanitize=fuzzer))
# Tests of what only one program has.
$(B)/tests/test_statistics: $(B)/obj/examples/ablate/statistics.o
$(B)/tests/test_palette: $(B)/obj/examples/ablate/picture.o
$(B)/tests/test_ablate_probe: $(B)/obj/examples/ablate/probe.o $(B)/obj/examples/ablate/edits.o $(call objects,tests/ablate)
$(B)/tests/test_inspect $(B)/tests/test_inspect_script $(B)/tests/test_inspect_layers: $(call objects,examples/inspect)
$(B)/tests/test_ablate_edits $(B)/tests/test_ablate_turns: $(B)/obj/examples/ablate/edits.o $(call objects,tests/ablate)
$(B)/tests/%: $(B)/obj/tests/%.o $(CASES) $(SHARED_A) $(LIB_A) $(B)/libraries
	$(call LINK,$(CHECK_LIBS))

# A library that tests put before the system calls of a program (LD_PRELOAD).
FAULT := $(B)/tests/fault.so
$(FAULT): tests/preload/fault.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -O1 -fPIC -shared $< -ldl -o $@

$(B)/corpus.txt: $(CORPUS) Makefile
	@mkdir -p $(B)
	$(Q)cat $(CORPUS) > $@.tmp && mv $@.tmp $@

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
# Intermediate files stay. A line with names would take this meaning from the empty one.
.SECONDARY:

# ---- Tests ------------------------------------------------------------------------------------------------------------
# tests/run.sh runs every program, whatever became of the ones before it, and ends in "N passed, N failed".
SCRIPTS  := $(filter-out $(LEFT_OUT_TESTS),$(wildcard tests/test_*.sh))
# What starts a script that calls make: `+` lends it this make's processes, but would also run it under `make -n`, and
# so would a recipe with $(MAKE) in it.
SCRIPT   = $(if $(findstring n,$(firstword -$(MAKEFLAGS))),,+)$(Q)
SUBMAKE := $(MAKE)
NUMBERED := $(filter-out $(B)/examples/10% $(B)/examples/05% $(B)/examples/06% $(B)/examples/08% $(B)/examples/09%,$(filter $(B)/examples/0% $(B)/examples/1%,$(EXAMPLES)))
check: lib $(TESTS) $(RANKED) $(FAULT) examples programs $(B)/bench/generate ## tests on this machine's instruction set
	$(SCRIPT)B='$(B)' CC='$(CC)' BLIS_INC='$(BLIS_INC)' SAN='$(SAN)' MAKE='$(SUBMAKE)' sh tests/run.sh $(TESTS) $(NUMBERED) $(SCRIPTS); status=$$?; $(SAY_SKIPPED) exit $$status

# A few minutes under both sanitizers: the tape, operations and rules, products, files that are damaged, texts, gnuplot,
# models that open and decode, training and generating.
SAMPLE_OF := tape tape_errors map ops params gradient_memory keys hdf5_damage blas rules state decode open bpe_files plots
SAMPLE    := $(filter $(SAMPLE_OF:%=$(B)/tests/test_%),$(TESTS)) $(filter tests/test_generate.sh,$(SCRIPTS))
sample: $(filter-out %.sh,$(SAMPLE)) $(addprefix $(B)/examples/,train_lm generate tokenize)
	$(Q)B='$(B)' sh tests/run.sh $(SAMPLE)
check-sample: ## a sample of the tests under both sanitizers, in build/san
	+$(Q)$(MAKE) B=$(B)/san SAN=address,undefined OPT=-O1 sample

# Threads of ours beside each other: batches drawn ahead, a tape for each thread, the ranks of pal_mixer_test, and ranks that
# are processes. libgomp is not built for this sanitizer, which would not see its barriers: hence one OpenMP thread.
RACES_OF := batches_ahead threads own_mixer
RACES    := $(filter $(RACES_OF:%=$(B)/tests/test_%),$(TESTS)) $(filter tests/test_dist_ranks.sh tests/test_dist_train.sh,$(SCRIPTS))
races: $(filter-out %.sh,$(RACES)) $(RANKED)
	$(Q)B='$(B)' SAN='$(SAN)' OMP_NUM_THREADS=1 TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp sh tests/run.sh $(RACES)
check-tsan: ## threads and ranks under the thread sanitizer, in build/tsan
	+$(Q)$(MAKE) B=$(B)/tsan SAN=thread OPT=-O1 races

check-asan: ## the same under the address sanitizer, in build/asan
	+$(Q)$(MAKE) B=$(B)/asan SAN=address OPT=-O1 check
check-ubsan: ## the same under the undefined-behaviour sanitizer, in build/ubsan
	+$(Q)$(MAKE) B=$(B)/ubsan SAN=undefined OPT=-O1 check
check-clang: ## the same built by clang, in build/clang
	+$(Q)$(MAKE) B=$(B)/clang CC=clang check

# Inputs from outside, on which no program may crash (tests/fuzz): texts, weights to convert, HDF5 files.
RUNS ?= 500
PYTHON := $(or $(wildcard /usr/bin/python3),/usr/bin/env python3)
fuzz-texts: $(FUZZERS)
	$(Q)B='$(B)' sh tests/fuzz/run.sh $(RUNS) $(FUZZERS)
	$(if $(filter %/released,$(FUZZERS)),$(if $(LIBFUZZER),,$(Q)$(PYTHON) -B tests/fuzz/structured.py --fuzzers $(B)/fuzz --runs $(RUNS)))
fuzz-files: $(addprefix $(B)/examples/,train_lm generate inspect ablate tokenize)
	$(Q)$(PYTHON) -B tests/fuzz/weights.py --runs $(RUNS)
	$(Q)$(PYTHON) -B tests/fuzz/hdf5.py --programs $(B)/examples --runs $(RUNS)
	$(Q)$(PYTHON) -B tests/fuzz/flips.py --programs $(B)/examples --runs $(RUNS)
check-fuzz: fuzz-texts fuzz-files ## RUNS=500 inputs for each parser of texts, and as many files
fuzz: ## RUNS=1000000 inputs for each parser of texts, under both sanitizers, by libFuzzer where clang is
	+$(Q)$(MAKE) B=$(B)/libfuzzer OPT=-O1 RUNS=$(if $(filter file,$(origin RUNS)),1000000,$(RUNS)) fuzz-texts \
	    $(if $(call program,clang),CC=clang SAN=address$(comma)undefined$(comma)fuzzer-no-link,SAN=address$(comma)undefined)

check-all: all ## every case, instruction set, sanitizer and compiler: long
	$(SCRIPT)B='$(B)' MAKE='$(SUBMAKE)' sh tests/check_all.sh

# Base objects must run on any processor of the architecture: no wide register, no VEX-coded instruction.
check-isa: $(filter %.base.o,$(KOBJ))
	$(Q)objdump -d --no-show-raw-insn $^ > $(B)/base.asm
	$(Q)! grep -nE '%[yz]mm|\bv[a-z0-9]+[sp][sd]\b' $(B)/base.asm

# ---- Demonstration and documentation ------------------------------------------------------------------------------
DEMO := --config packaging/configs/demo.txt
demo: $(B)/examples/train_lm $(B)/corpus.txt ## trains a small model on this project's own text
	@rm -rf $(B)/demo
	$(Q)$(B)/examples/train_lm $(DEMO) --data $(B)/corpus.txt --out $(B)/demo
figure-demo: demo
	@mkdir -p docs/figures
	$(Q)cp $(B)/demo/loss.svg docs/figures/demo-loss.svg

# docs/training.md, What to expect. The text is there after ./deps.sh --corpus.
HALF_HOUR := --held-out 0.05 --mixers gdn2,gdn2,gdn2,swa:window_size=128 --layers 4 --width 192 --batch 4 --len 256 \
    --steps 4600 --schedule cosine --lr 3e-3 --warmup 100 --eval-every 1150 --save-every 1150 --sample-every 2300 \
    --seed 1 --threads 1
$(B)/debian.txt: examples/corpus.sh
	$(Q)sh examples/corpus.sh $(B)/debian-doc $@
$(B)/debian%.tokens.h5: $(B)/debian.txt $(B)/examples/tokenize
	$(Q)$(B)/examples/tokenize --train-vocab $* --held-out 0.05 --separator '<|endoftext|>' --end '<|endoftext|>' \
	    --out $@ $(B)/debian.txt
half-hour: $(B)/debian4096.tokens.h5 $(B)/examples/train_lm ## a hybrid model on 23 MB of text, half an hour of one core; goes on where it was stopped
	$(Q)if ls $(B)/half-hour/step-*.h5 >/dev/null 2>&1; then how=--resume; fi; \
	    OMP_NUM_THREADS=1 $(B)/examples/train_lm $(HALF_HOUR) --data $< --out $(B)/half-hour $$how
figure-half-hour: half-hour
	@mkdir -p docs/figures
	$(Q)cp $(B)/half-hour/loss.svg docs/figures/half-hour-loss.svg

# ---- Studies ------------------------------------------------------------------------------------------------------
# docs/studies.md: `make study-mqar` makes the runs that are missing; `make figure-mqar` also puts its plots into docs/figures.
# Studies whose runs are committed, in examples/ablate/results, are read and not trained again.
STUDIES := $(patsubst examples/ablate/studies/%.study,%,$(wildcard examples/ablate/studies/*.study))
RESULTS := $(patsubst examples/ablate/results/%.txt,%,$(wildcard examples/ablate/results/*.txt))
$(STUDIES:%=study-%): study-%: $(B)/examples/ablate
	$(Q)$(B)/examples/ablate examples/ablate/studies/$*.study --out $(B)/studies/$* \
	    $(if $(filter $*,$(RESULTS)),--from examples/ablate/results/$*.txt)
# Studies of a text.
$(patsubst %,study-%,$(filter-out $(RESULTS),$(filter text%,$(STUDIES)))): $(B)/debian2048.tokens.h5
study-chunks: $(B)/bench/rules
	$(Q)B='$(B)' sh bench/chunks.sh $(B)/studies/chunks
STUDY_FIGURES := $(STUDIES:%=figure-%) figure-chunks
$(STUDY_FIGURES): figure-%: study-%
	@mkdir -p docs/figures
	$(Q)for f in $(B)/studies/$*/*.svg; do cp $$f docs/figures/$*-$$(basename $$f) || exit 1; done
RECALL := --mixers gdn2:num_heads=2:head_dim=16 --no-mlp --vocab 32 --pairs 4 --len 24 --every 250 --enough 0.99 --seed 1
$(B)/figure-recall/model.h5: $(B)/examples/recall
	$(Q)$(B)/examples/recall $(RECALL) --out $(B)/figure-recall >/dev/null
figure-inspect: $(B)/examples/inspect $(B)/figure-recall/model.h5 ## docs/figures/inspect-*.svg
	@mkdir -p docs/figures
	$(Q)$(B)/examples/inspect --demo --rule gdn2,mamba2 --out $(B)/figure-inspect >/dev/null
	$(Q)cp $(B)/figure-inspect/readback-0-0.svg docs/figures/inspect-readback.svg
	$(Q)$(B)/examples/inspect $(B)/figure-recall/start.h5 $(B)/figure-recall/model.h5 --row 3 --out $(B)/figure-recall >/dev/null
	$(Q)cp $(B)/figure-recall/readback-1-0.svg docs/figures/inspect-recall.svg
# docs/figures/speed.svg, from the table of docs/performance.md.
figure-speed:
	@mkdir -p $(B)
	$(Q)awk -F ' *[|] *' '/^[|] width [|]/ { split("", at); for (i = 2; i < NF; i++) at[$$i] = i } \
	    function of(name) { return name in at ? $$at[name] : "?" } \
	    /^[|] [0-9]+, / { split($$2, w, ","); printf "\"width %s\\n%s threads\" %s %s %s %s\n", w[1], $$3, of("f32"), \
	        of("bf16"), of("PyTorch f32"), of("PyTorch bf16") }' docs/performance.md >$(B)/speed.dat
	$(Q)LC_ALL=C.UTF-8 gnuplot -d -c docs/figures/speed.gp $(B)/speed.dat docs/figures/speed.svg
# The figures of the course, from the points that its programs print.
COURSE := $(filter-out %/00_one_hour.md,$(wildcard docs/course/[0-9]*.md))
figure-course: lib ## docs/course/figures
	$(Q)for page in $(COURSE); do \
	    name=$$(basename $$page .md); number=$${name%%_*}; data=$(B)/pages/$$name.dat; rm -f $$data; \
	    OMP_NUM_THREADS=1 B='$(B)' sh docs/course/run.sh $$page >/dev/null || exit 1; \
	    [ -e $$data ] || continue; \
	    cp $$data docs/course/figures/$$number.dat && (cd docs/course/figures && gnuplot -c figures.gp $$number && \
	    sed -i "s/<image /<image style='image-rendering:pixelated' /" $$number-*.svg) || exit 1; done
# The model of gdn2's seed 2 in examples/ablate/studies/mqar.study, layer by layer.
LAYERS := --mixers gdn2:num_heads=2:head_dim=16 --no-mlp --len 64,64,64,128 --pairs 4,8,16,32 --batch 32 --steps 2000 \
    --lr 1e-3 --seed 2
$(B)/figure-layers/model.h5: $(B)/examples/recall
	$(Q)$(B)/examples/recall $(LAYERS) --out $(B)/figure-layers >/dev/null
figure-layers: $(B)/examples/ablate $(B)/figure-layers/model.h5 ## docs/figures/layers-recall.svg
	@mkdir -p docs/figures
	$(Q)$(B)/examples/ablate --layers $(B)/figure-layers/model.h5 --rows 256 --out $(B)/figure-layers
	$(Q)cp $(B)/figure-layers/layers.svg docs/figures/layers-recall.svg
studies: $(STUDIES:%=study-%) ## all studies, hours; make study-NAME makes one
figures: figure-course figure-speed $(STUDY_FIGURES) figure-inspect figure-layers figure-demo figure-half-hour ## docs/figures, hours; make figure-NAME makes those of one
check-studies: $(B)/examples/ablate ## three steps of every study
	$(Q)rm -rf $(B)/studies/check
	$(Q)for s in $(filter-out text%,$(STUDIES)); do echo "-- $$s"; $(B)/examples/ablate examples/ablate/studies/$$s.study --smoke --out $(B)/studies/check/$$s \
	    > $(B)/studies-check.log 2>&1 || { cat $(B)/studies-check.log; exit 1; }; done
.PHONY: studies figures figure-course figure-speed figure-inspect figure-layers check-studies study-chunks $(STUDIES:%=study-%) $(STUDY_FIGURES)

docs: ## build/docs/html, from the comments of the public headers; fails if a public symbol has none, or if no program uses a function
	@mkdir -p $(B)/docs
	$(Q)awk -f docs/enums.awk $(HEADERS)
	$(Q)$(PYTHON) docs/uses.py $(HEADERS) > $(B)/docs/uses.txt
	$(Q)(cat docs/Doxyfile; echo 'INPUT = $(HEADERS)'; echo 'OUTPUT_DIRECTORY = $(B)/docs'; \
	     echo 'INPUT_FILTER = "awk -v uses=$(B)/docs/uses.txt -f docs/doxygen.awk"') | doxygen -

# Chromium opens what this makes in tests/test_site.sh.
course: $(if $(call program,doxygen),docs) ## build/course, the course, docs and reference as pages for a browser (needs pandoc)
	$(Q)python3 -B docs/site/build.py $(B)/course $(B)/docs/html
.PHONY: course

# ---- Installation -----------------------------------------------------------------------------------------------------
# The programs go to LIBEXEC, where `palimpsest COMMAND` finds them: bin/../libexec/palimpsest.
LIBDIR     := $(PREFIX)/lib
INCLUDEDIR := $(PREFIX)/include
SHAREDIR   := $(PREFIX)/share
LIBEXEC    := $(PREFIX)/libexec/palimpsest
INSTALLED  := $(addprefix $(B)/programs/,train_lm generate tokenize inspect ablate check)
FILLED      = sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
                  -e 's|@SOVERSION@|$(SOVERSION)|' -e 's|@PRIVATE@|$(2)|' $(1)
install: lib $(B)/examples/palimpsest $(INSTALLED) ## to PREFIX (/usr/local), below DESTDIR if that is set
	install -d $(addprefix $(DESTDIR)$(INCLUDEDIR)/palimpsest/,$(sort $(dir $(HEADERS)))) $(DESTDIR)$(LIBDIR)/pkgconfig \
	    $(addprefix $(DESTDIR),$(LIBDIR)/cmake/palimpsest $(PREFIX)/bin $(LIBEXEC) $(SHAREDIR)/bash-completion/completions \
	    $(SHAREDIR)/palimpsest/studies $(SHAREDIR)/palimpsest/configs)
	$(Q)for h in $(HEADERS); do install -m 644 $$h $(DESTDIR)$(INCLUDEDIR)/palimpsest/$$h || exit 1; done
	install -m 644 $(LIB_A) $(DESTDIR)$(LIBDIR)/
	install -m 755 $(LIB_SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(notdir $(LIB_SO)) $(DESTDIR)$(LIBDIR)/libpalimpsest.so.$(SOVERSION)
	ln -sf libpalimpsest.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libpalimpsest.so
	$(Q)$(call FILLED,palimpsest.pc.in,$(LDLIBS)) > $(DESTDIR)$(LIBDIR)/pkgconfig/palimpsest.pc
	$(Q)for f in config config-version; do $(call FILLED,packaging/palimpsest-$$f.cmake.in,$(subst $(space),;,$(LDLIBS))) \
	    > $(DESTDIR)$(LIBDIR)/cmake/palimpsest/palimpsest-$$f.cmake || exit 1; done
	install -m 755 $(B)/examples/palimpsest $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(INSTALLED) $(DESTDIR)$(LIBEXEC)/
	$(Q)sed '1s|.*|#!$(PYTHON)|' examples/convert.py > $(DESTDIR)$(LIBEXEC)/convert.py && chmod 755 $(DESTDIR)$(LIBEXEC)/convert.py
	install -m 644 examples/convert_files.py $(DESTDIR)$(LIBEXEC)/
	install -m 644 packaging/completion.bash $(DESTDIR)$(SHAREDIR)/bash-completion/completions/palimpsest
	install -m 644 $(wildcard examples/ablate/studies/*.study) $(DESTDIR)$(SHAREDIR)/palimpsest/studies/
	install -m 644 $(wildcard packaging/configs/*.txt) $(DESTDIR)$(SHAREDIR)/palimpsest/configs/
	@if [ -z '$(DESTDIR)' ] && [ '$(PREFIX)' = /usr/local ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

uninstall: ## removes what install put there
	rm -rf $(DESTDIR)$(INCLUDEDIR)/palimpsest
	rm -rf $(addprefix $(DESTDIR),$(LIBDIR)/cmake/palimpsest $(LIBEXEC) $(SHAREDIR)/palimpsest)
	rm -f $(DESTDIR)$(LIBDIR)/libpalimpsest.* $(addprefix $(DESTDIR),$(LIBDIR)/pkgconfig/palimpsest.pc $(PREFIX)/bin/palimpsest \
	    $(SHAREDIR)/bash-completion/completions/palimpsest $(MANUALS:%=$(SHAREDIR)/man/man1/%))

# Manual pages of what --help says. help2man makes them; without it there are none.
MANUALS := $(addsuffix .1,palimpsest $(addprefix palimpsest-,train generate tokenize inspect ablate convert))
man: $(B)/examples/palimpsest $(INSTALLED:$(B)/programs/%=$(B)/examples/%) ## build/man: manual pages of the installed programs, by help2man
	@mkdir -p $(B)/man
	$(Q)B='$(B)' VERSION='$(VERSION)' sh packaging/manual.sh $(MANUALS:.1=)
install-man: man ## the manual pages, beside what install puts there
	install -d $(DESTDIR)$(SHAREDIR)/man/man1
	install -m 644 $(MANUALS:%=$(B)/man/%) $(DESTDIR)$(SHAREDIR)/man/man1/

# ---- Packages ---------------------------------------------------------------------------------------------------------
DIST := palimpsest-$(VERSION)
dist: ## build/palimpsest-VERSION.tar.xz: the sources of the last commit
	@mkdir -p $(B)
	$(Q)git archive --prefix=$(DIST)/ HEAD | xz > $(B)/$(DIST).tar.xz.tmp && mv $(B)/$(DIST).tar.xz.tmp $(B)/$(DIST).tar.xz
deb: dist ## build/deb: packages of Debian, by dpkg-buildpackage (without tests: DEB_BUILD_OPTIONS=nocheck and DEB_ARGS=-Pnocheck)
	$(Q)rm -rf $(B)/deb && mkdir $(B)/deb && cp $(B)/$(DIST).tar.xz $(B)/deb/palimpsest_$(VERSION).orig.tar.xz
	$(Q)tar -C $(B)/deb -xf $(B)/$(DIST).tar.xz && cp -r packaging/debian $(B)/deb/$(DIST)/debian
	+$(Q)cd $(B)/deb/$(DIST) && env -u MAKEFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc $(DEB_ARGS)

# What programs that were compiled before rely on (tests/check_abi.sh).
ABI := packaging/abi.xml.xz
check-abi: $(LIB_SO) ## fails if public symbols, structs or enums changed and SOVERSION did not (needs abigail-tools)
	$(Q)sh tests/check_abi.sh check $(LIB_SO) $(ABI) $(HEADERS)
abi: $(LIB_SO) ## packaging/abi.xml.xz: those of today, with which later ones are compared
	$(Q)UNPUBLISHED='$(UNPUBLISHED)' sh tests/check_abi.sh renew $(LIB_SO) $(ABI) $(HEADERS)
.PHONY: check-abi abi

# ---- Another machine --------------------------------------------------------------------------------------------------
# Its packages are unpacked in build/arm64-root by ./deps.sh --arm.
ARM_ROOT := build/arm64-root
ARM_B    := $(B)/arm64
ARM      := B=$(ARM_B) CC=aarch64-linux-gnu-gcc SYSROOT=$(ARM_ROOT)
check-arm: ## replay, operations, reductions and 02_mlp for 64-bit ARM, under qemu
	+$(Q)$(MAKE) $(ARM) $(addprefix $(ARM_B)/tests/,replay test_ops test_reductions) $(ARM_B)/examples/02_mlp
	$(Q)B='$(ARM_B)' ROOT='$(ARM_ROOT)' sh tests/check_arm.sh

# ---- Housekeeping ---------------------------------------------------------------------------------------------------
CLANG_FORMAT = $(shell command -v clang-format-14 || echo clang-format)
FORMATTED = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
format: ## clang-format on every source
	$(Q)$(CLANG_FORMAT) -i $(FORMATTED)
format-check: ## fails if clang-format would change a source
	$(Q)$(CLANG_FORMAT) --dry-run -Werror $(FORMATTED)
clean: ## removes build/
	rm -rf $(B)
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
