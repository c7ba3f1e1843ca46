# haina (海纳): two targets for everyone (run, test), the rest for developers.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: run test lint native fuzz torture bench wheel clean

run: $(VENV)/installed                ## install and talk to the embedded model
	@$(BIN)/haina

test: $(VENV)/tested                  ## install what the tests need and pass them
	$(BIN)/pytest

lint: $(VENV)/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

native:                               ## compile native/ in place, for work on the source tree
	cmake -S . -B build/native -DCMAKE_BUILD_TYPE=Release
	cmake --build build/native -j2
	cmake --install build/native --prefix .

fuzz: $(VENV)/tested                  ## readers against mutated bytes, the server against 50,000 requests: the full dose
	HAINA_FUZZ=20000 $(BIN)/pytest tests/checkpoint/test_fuzz.py tests/text
	HAINA_FUZZ=50000 $(BIN)/pytest tests/serve/test_schemathesis.py

torture: $(VENV)/tested               ## kills, 20,000 requests, 100,000 operations of the scheduler: the full dose
	HAINA_TORTURE=20 $(BIN)/pytest tests/train/test_kills.py tests/train/test_two_nodes.py tests/train/test_ray_train.py \
		tests/checkpoint/test_convert.py tests/engine/test_soak.py tests/engine/test_scheduler.py \
		tests/serve/test_disconnects.py tests/apps/test_search_kills.py

bench: native $(VENV)/benched         ## measure this machine against llama.cpp, write docs/benchmarks.md; half an hour
	$(BIN)/python -m bench.inference
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.data
	$(BIN)/python -m bench.serving --peer $(VENV)/llama/bin/llama-server

wheel:
	$(PYTHON) -m pip wheel --no-deps -w dist .

clean:
	rm -rf build dist $(VENV)

SOURCES := pyproject.toml CMakeLists.txt $(shell find haina -type f -not -path '*/__pycache__/*' -not -name '*.so')

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) >&2

$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	@echo "haina: installing into $(VENV) · 正在安装到 $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check . >&2
	@touch $@

$(VENV)/tested: $(VENV)/bin/python constraints.txt $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/benched: $(VENV)/tested       ## llama.cpp is compiled for this very machine: ten minutes
	CMAKE_ARGS='-DGGML_NATIVE=ON' $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt --no-binary llama-cpp-python '.[bench]'
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: -c constraints.txt -d $(VENV)/llama llama-cpp-python==0.3.36
	tar -xzf $(VENV)/llama/llama_cpp_python-*.tar.gz -C $(VENV)/llama --strip-components=1
	cmake -S $(VENV)/llama/vendor/llama.cpp -B $(VENV)/llama -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
		-DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF
	cmake --build $(VENV)/llama -j2 --target llama-server
	@touch $@
