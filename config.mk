# config.mk - what this machine has, for the Makefile: what is built without the optional packages, and one sentence
# about a mandatory package that is missing.
#   make MPI=no         for one process, with serial HDF5, although MPI is there
#   make BPE=no         the tokenizer of bytes only, although cJSON and PCRE2 are there
#   make UTF8PROC=no    BPE without normal forms of Unicode, although utf8proc is there
#   make SYSROOT=DIR    for another machine, whose packages are unpacked in DIR (CC is a compiler for it)
#   make DNNL=no        products by BLIS alone, although oneDNN is there
PKG_CONFIG := pkg-config
ifdef SYSROOT
# pkg-config looks there, and at nothing of this machine.
override SYSROOT := $(abspath $(SYSROOT))
CROSS       := $(SYSROOT)/usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null)
CROSS_FLAGS := --sysroot=$(SYSROOT)
PKG_CONFIG  := PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) PKG_CONFIG_LIBDIR=$(CROSS)/pkgconfig pkg-config
endif
program = $(shell command -v $(firstword $(1)))
package = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo yes)
comma   := ,
empty   :=
space   := $(empty) $(empty)

# ---- Mandatory: a compiler, pkg-config, HDF5 (with MPI or serial), BLIS ----
MPI := $(if $(call package,hdf5-openmpi),yes,no)
ifeq ($(MPI),no)
PKGS := $(firstword $(foreach p,hdf5-serial hdf5,$(if $(call package,$(p)),$(p))))
else
PKGS := $(if $(call package,hdf5-openmpi),hdf5-openmpi)
endif
BLIS_DIRS := $(wildcard $(addprefix $(SYSROOT),/usr/include/*/blis-openmp /usr/include/blis /usr/local/include/blis))
BLIS_INC  := $(firstword $(foreach d,$(BLIS_DIRS),$(if $(wildcard $(d)/blis.h),$(d))))
BLIS_LIB  := $(if $(SYSROOT),-L$(CROSS)/blis-openmp) -lblis

# In brackets: Debian's names. `./deps.sh` knows those of other systems, too.
MISSING := $(if $(call program,$(CC)),,a C compiler [gcc]$(comma))
MISSING += $(if $(call program,pkg-config),$(if $(PKGS),,HDF5 [libhdf5-openmpi-dev]$(comma)),pkg-config [pkg-config]$(comma))
MISSING += $(if $(BLIS_INC),,BLIS [libblis-openmp-dev]$(comma))
# A recipe that begins with this ends make with one sentence, instead of a compiler's messages.
say_missing   = $(if $(strip $(1)),$(error Missing: $(subst $(comma)@,,$(strip $(1))@); ./deps.sh installs it))
need_packages = $(call say_missing,$(MISSING))

# ---- Optional: MPI, cJSON and PCRE2 (together BPE), utf8proc, oneDNN, gnuplot; Check, for the tests ----
CJSON   := $(call package,libcjson)
BPE     := $(if $(and $(CJSON),$(call package,libpcre2-8)),yes,no)
GNUPLOT := $(call program,gnuplot)
CHECK   := $(call package,check)

# The tokenizer is a room of the library; its normal forms of Unicode need utf8proc.
UTF8PROC := $(if $(filter yes,$(BPE)),$(if $(call package,libutf8proc),yes,no),no)
# Without spaces, which $(if) would take for a package.
PKGS := $(strip $(PKGS) $(if $(filter yes,$(BPE)),libcjson libpcre2-8) $(if $(filter yes,$(UTF8PROC)),libutf8proc))

# Debian's oneDNN has no file for pkg-config. The library is loaded when it is first asked for (tensor/onednn.c).
DNNL_DIRS := $(wildcard $(addprefix $(SYSROOT),/usr/include/oneapi/dnnl/dnnl.h /usr/local/include/oneapi/dnnl/dnnl.h))
DNNL := $(if $(DNNL_DIRS),yes,no)
# Its name at run time: libdnnl.so.2 in Debian 12, libdnnl.so.3.6 in Debian 13. Without readelf onednn.c supposes one.
DNNL_FILE = $(shell $(CC) -print-file-name=libdnnl.so)
DNNL_SONAME = $(shell readelf -d '$(DNNL_FILE)' 2>/dev/null | sed -n 's/.*(SONAME).*\[\(.*\)\].*/\1/p')

# Sources that a package decides on; the Makefile leaves these out, in whatever folder they are.
LEFT_OUT_SRC := $(if $(filter no,$(MPI)),%/dist.c %/start.c %/dist_reduce.c %/dist_same.c %/dist_shard.c %/dist_wait.c %/hdf5_mpi.c tests/dist_%.c,\
    %/dist_one.c %/hdf5_one.c)
LEFT_OUT_SRC += $(if $(filter no,$(BPE)),$(filter-out %/bytes.c %/lossy.c,$(wildcard tensor/text/*.c)),%/text/bytes.c)
LEFT_OUT_SRC += $(if $(filter yes,$(BPE)),$(if $(filter yes,$(UTF8PROC)),%/unicode_none.c,%/unicode.c))
LEFT_OUT_SRC += $(if $(filter no,$(BPE)),$(addprefix tests/fuzz/,tokenizer.c encode.c train.c ends.c))
# Folders of released models, which are JSON and have a tokenizer.
LEFT_OUT_SRC += $(if $(filter no,$(BPE)),%/files/json.c %/files/safetensors.c %/files/weights.c %/models/export.c %/open_folder.c \
    $(wildcard layers/models/families/*.c tests/support/golden_folder*.c) %/support/released.c \
    $(addprefix tests/fuzz/,safetensors.c shards.c released.c),%/no_folder.c)
LEFT_OUT_SRC += $(if $(filter yes,$(DNNL)),%/onednn_none.c,%/onednn.c)
LEFT_OUT_SRC += $(if $(CJSON),,%/replay.c %/golden_layer.c %/golden_model.c)

# Tests that need an optional package: by what their text names, or by their own name.
naming     = $(shell grep -l $(1:%=-e '%') tests/test_*.c tests/test_*.sh)
MPI_TESTS  = $(call naming,mpirun support/ranks.sh support/hosts.sh)
BPE_TESTED = $(call naming,pal_tokenizer_load pal_tokenizer_train support/bpe.h train-vocab tokenizer.json)
NFC_TESTS  := $(addprefix tests/,test_generate_text.sh test_tokenizers.sh test_released.sh)
RELEASED_TESTS := $(addprefix tests/,test_safetensors.c test_released.c test_released_wrong.c test_released.sh)
JSON_TESTS := tests/replay.c tests/test_replay.sh
PLOT_TESTS := $(addprefix tests/,test_inspect.c test_inspect.sh test_ablate.sh test_ablate_layers.sh test_ablate_rates.sh)
LEFT_OUT_TESTS := $(sort $(if $(filter no,$(MPI)),$(MPI_TESTS)) $(if $(filter no,$(BPE)),$(BPE_TESTED) $(RELEASED_TESTS)) \
                    $(if $(filter no,$(UTF8PROC)),$(NFC_TESTS)) \
                    $(if $(CJSON),,$(JSON_TESTS)) $(if $(GNUPLOT),,$(PLOT_TESTS)))
LEFT_OUT_SRC += $(filter %.c,$(LEFT_OUT_TESTS))
present = $(filter-out $(LEFT_OUT_SRC),$(1))

# The tests want more, before anything of theirs is compiled.
ifneq ($(filter check check-% $(B)/tests/%,$(filter-out check-isa check-studies,$(MAKECMDGOALS))),)
$(need_packages)
$(call say_missing,$(if $(CHECK),,Check [check]$(comma)))
endif

# What is left out is told when that changes, which is mostly the first time; `make check` repeats what it skips.
LEFT_OUT := \
  $(if $(filter no,$(MPI)),'Without MPI a program is one process; left out: bench/dist.') \
  $(if $(filter no,$(BPE)),'Without cJSON or PCRE2 texts are read by bytes; left out: byte-level BPE and folders of released models.') \
  $(if $(filter yesno,$(BPE)$(UTF8PROC)),'Without utf8proc tokenizers with normal forms of Unicode (NFC) are refused.') \
  $(if $(filter no,$(DNNL)),'Without oneDNN products in bf16 are no faster than those in f32.') \
  $(if $(GNUPLOT),,'Without gnuplot there are numbers and no plots.') \
  $(if $(CHECK),,'Without Check there are no tests.')
$(B)/left-out: FORCE
	$(need_packages)@mkdir -p $(B)
	@printf '%s\n' $(strip $(LEFT_OUT)) | cmp -s - $@ || printf '%s\n' $(strip $(LEFT_OUT)) | tee $@ | sed -n '/./s/^/  NOTE    /p'
SAY_SKIPPED = $(if $(LEFT_OUT_TESTS),echo 'skipped for want of an optional package: $(notdir $(LEFT_OUT_TESTS))';)
