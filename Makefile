# Palimpsest: everything is built into $(B). `make help` lists the targets.
#   make V=1            shows the commands            make CC=clang     another compiler
#   make B=DIR          another build folder          make SAN=address  a sanitizer (address, undefined)
B      ?= build
PREFIX ?= /usr/local
CC     ?= gcc
Q      := $(if $(V),,@)

VERSION   := 0.1.0
SOVERSION := 0

PKGS     := hdf5-openmpi
BLIS_INC := $(firstword $(wildcard /usr/include/*/blis-openmp /usr/include/blis /usr/local/include/blis))
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion
OPT      ?= -O3
CFLAGS   ?= -g
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# No -ffast-math: NaN checks and reproducible sums depend on it. Contraction is off so that a fused multiply-add is
# used where simd.h says so, and nowhere else.
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARN) $(OPT) -fPIC -fopenmp -fvisibility=hidden \
              -fno-math-errno -fno-trapping-math -ffp-contract=off -I. $(SANFLAGS) $(CFLAGS)
LIB_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKGS))) -isystem $(BLIS_INC)
LDLIBS     := $(shell pkg-config --libs $(PKGS)) -lblis -lm
ALL_LDFLAGS = -fopenmp $(SANFLAGS) $(LDFLAGS)

# ---- Sources, by wildcard ---------------------------------------------------------------------------------------
FLOORS := tensor autograd autograd/ops layers optim
SRC    := $(filter-out %.k.c,$(wildcard $(FLOORS:%=%/*.c)))
KSRC   := $(wildcard $(FLOORS:%=%/kernels/*.k.c))
OBJ    := $(SRC:%.c=$(B)/%.o)

# One kernel text, compiled for two types and three instruction sets.
ISA_base   :=
ISA_avx2   := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma
REAL_f32   := float
REAL_f64   := double
define KERNEL_RULE
$(B)/%.$(1).$(2).o: %.k.c $(B)/flags
	@mkdir -p $$(@D)
	$(if $(V),,@echo "  CC      $$<  [$(1) $(2)]")
	$(Q)$$(CC) $$(ALL_CFLAGS) $(ISA_$(2)) -DREAL=$(REAL_$(1)) -DSUFFIX=_$(1)_$(2) -MMD -MP -c $$< -o $$@
KOBJ += $(KSRC:%.k.c=$(B)/%.$(1).$(2).o)
endef
KOBJ :=
$(foreach t,f32 f64,$(foreach i,base avx2 avx512,$(eval $(call KERNEL_RULE,$(t),$(i)))))

TESTS    := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/test_*.c) $(wildcard tests/replay.c))
CASES    := $(patsubst %.c,$(B)/%.o,$(wildcard tests/case_*.c) $(wildcard tests/support/*.c))
EXAMPLES := $(patsubst examples/%.c,$(B)/examples/%,$(wildcard examples/*.c))
BENCHES  := $(patsubst bench/%.c,$(B)/bench/%,$(wildcard bench/*.c))
LIB_A    := $(B)/libpalimpsest.a
LIB_SO   := $(B)/libpalimpsest.so.$(VERSION)

.PHONY: all lib check check-all check-asan check-ubsan bench examples demo docs install uninstall format format-check \
        check-isa clean help FORCE
all: lib $(TESTS) examples bench
lib: $(LIB_A) $(LIB_SO)
examples: $(EXAMPLES)
bench: $(BENCHES)

# ---- Rules --------------------------------------------------------------------------------------------------------
# A change of compiler or flags rebuilds everything.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || \
	 echo '$(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) $(ALL_LDFLAGS)' > $@

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC      $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) $(CPPFLAGS_$(firstword $(subst /, ,$<))) -MMD -MP -c $< -o $@

$(LIB_A): $(OBJ) $(KOBJ)
	@rm -f $@
	$(if $(V),,@echo "  AR      $@")
	$(Q)$(AR) rcs $@ $^

$(LIB_SO): $(OBJ) $(KOBJ)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) -shared -Wl,-soname,libpalimpsest.so.$(SOVERSION) $(ALL_LDFLAGS) $^ $(LDLIBS) -o $@
	$(Q)ln -sf $(@F) $(B)/libpalimpsest.so.$(SOVERSION)
	$(Q)ln -sf $(@F) $(B)/libpalimpsest.so

CHECK_LIBS      = $(shell pkg-config --libs check libcjson)
CPPFLAGS_tests := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I check libcjson))
$(B)/tests/%: $(B)/tests/%.o $(CASES) $(LIB_A)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CHECK_LIBS) $(LDLIBS) -o $@

$(B)/examples/% $(B)/bench/%: LDLIBS += $(LIBS_$(*F))
$(B)/examples/%: $(B)/examples/%.o $(LIB_A)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(LDLIBS) -o $@
$(B)/bench/%: $(B)/bench/%.o $(LIB_A)
	$(if $(V),,@echo "  LD      $@")
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(LDLIBS) -o $@

-include $(OBJ:.o=.d) $(KOBJ:.o=.d) $(CASES:.o=.d) $(TESTS:=.d) $(EXAMPLES:=.d) $(BENCHES:=.d)
.SECONDARY:

# Base objects must run on any processor of the architecture: no wide register, no VEX-coded instruction.
check-isa: $(filter %.base.o,$(KOBJ))
	$(Q)objdump -d --no-show-raw-insn $^ > $(B)/base.asm
	$(Q)! grep -nE '%[yz]mm|\bv[a-z0-9]+[sp][sd]\b' $(B)/base.asm

clean:
	rm -rf $(B)
FORMATTED = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
format:
	clang-format -i $(FORMATTED)
format-check:
	clang-format --dry-run -Werror $(FORMATTED)
