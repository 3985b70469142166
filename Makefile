# Everything runs in one .venv that these targets make. A target installs only what it needs, once.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
# The GPU runtime where an NVIDIA driver is present, the CPU runtime elsewhere; RUNTIME=cpu or gpu decides otherwise.
RUNTIME ?= $(if $(wildcard /proc/driver/nvidia/version /dev/dxg),gpu,cpu)
OTHER = $(if $(filter gpu,$(RUNTIME)),onnxruntime,onnxruntime-gpu)

VENV = .venv
BIN = $(VENV)/bin
# A stamp stands for an installed set of extras; a newer pyproject.toml or another runtime makes it out of date.
STAMP = $(VENV)/.installed-$(RUNTIME)

.PHONY: help setup serve test train reproduce bench lint proto lock clean
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)-train-dev ## install everything

serve: $(STAMP) ## serve the model in models/ (PORT=8000, HOST=127.0.0.1; any other HOST wants API keys)
	@exec $(BIN)/python -m service --host $(HOST) --port $(PORT) $(ARGS)

test: $(STAMP)-train-dev ## run the tests
	$(BIN)/python -m pytest $(ARGS)

train: $(STAMP)-train ## train, export and verify a new model version (ARGS='--epochs 30')
	$(BIN)/python -m training $(ARGS)

reproduce: $(STAMP)-train ## train seeds 0 to 4, evaluate them on the test set, release the median one
	$(BIN)/python -m training reproduce --final $(ARGS)

bench: $(STAMP)-train-dev ## run the benchmarks (ARGS='--quick')
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(STAMP)-train-dev ## check style, types and the directions of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

proto: $(STAMP)-train-dev ## compile the gRPC service's inference.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. service/protocol/grpc/inference.proto

lock: $(STAMP)-train-dev ## lock what the images install, with hashes (ARGS='--upgrade')
	@cd deploy/locks && for lock in build cpu gpu; do \
	  UV_CUSTOM_COMPILE_COMMAND='make lock' ../../$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url $(ARGS) -o $$lock.txt \
	    $$(test -f $$lock.in && echo $$lock.in || echo ../../pyproject.toml --extra $$lock --extra grpc --extra traces) || exit; \
	done

clean: ## remove the environment and what tools left
	rm -rf $(VENV) .bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# What is installed of a larger set serves for a smaller one.
$(STAMP)-train-dev: EXTRAS = $(RUNTIME),train,dev
$(STAMP)-train: EXTRAS = $(RUNTIME),train
$(STAMP): EXTRAS = $(RUNTIME)
$(STAMP) $(STAMP)-train $(STAMP)-train-dev: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "digitscope needs Python 3.11 or newer, and $(PYTHON) is older: name another by PYTHON=…" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# Both runtimes install the same files, so the one that is not wanted goes first, and with it all that was noted.
	@if $(BIN)/python -m pip show -q $(OTHER) 2>/dev/null; then \
	  $(BIN)/python -m pip uninstall -q -y $(OTHER) $(filter-out $(OTHER),onnxruntime onnxruntime-gpu); \
	  rm -f $(VENV)/.installed-*; \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[$(EXTRAS)]'
	@touch $@ $(if $(findstring dev,$@),$(STAMP)-train) $(STAMP)
