# Thin: each target is a line or two, and CI runs the same ones.

CARGO ?= cargo
BENCH_PROFILE ?= release
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
ifeq ($(NEXTEST),yes)
RUN_TESTS = $(CARGO) nextest run
else
RUN_TESTS = $(CARGO) test
endif

.PHONY: demo test test-features test-interop soak soak-slice check bench bench-e2e instructions doc install image image-airbyte wheel sbom deny clean

demo: ## show discovery, tap and target at work, without an account
	$(CARGO) build --quiet
	target/debug/zoho-crm demo

test: check doc ## format, lints, docs with warnings denied, all tests
	$(RUN_TESTS) --locked

check: ## format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

doc: ## the library's documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	$(CARGO) test --locked --doc --quiet

test-features: ## what is off by default: lints and tests with it
	$(CARGO) clippy --locked --all-targets --features parquet,s3 -- -D warnings
	$(RUN_TESTS) --locked --features parquet,s3 -- parquet storage

test-interop: ## third-party tools against our programs; needs Python 3.11
	python3 tests/interop/run.py --install & $(CARGO) build --locked; built=$$?; wait; exit $$built
	python3 tests/interop/run.py

soak: ## the full figures, optimised build
	SOAK=full $(CARGO) test --locked --profile soak --features soak --test soak -- --nocapture

soak-slice: ## ten minutes of the soak, another part each time
	SOAK=slice $(CARGO) test --locked --profile soak --features soak --test soak -- --nocapture

bench: ## the codec in rows/s and MB/s
	$(CARGO) bench --bench codec

bench-e2e: ## whole programs beside unzip and zip; BENCH_PAIRS, BENCH_ONLY, BENCH_LARGE: see benches/e2e/main.rs
	$(CARGO) bench --locked --profile $(BENCH_PROFILE) --bench e2e

instructions: ## instructions per row of the codec, held to benches/instructions.json; needs valgrind
	$(CARGO) bench --locked --profile $(BENCH_PROFILE) --bench e2e -- instructions

wheel: ## the Python wheel into target/wheels; needs maturin
	maturin build --release --locked

image: ## the container image; needs docker
	docker build --tag zoho-crm-connector .

image-airbyte: ## the images of source and destination; needs docker
	docker build --target source-zoho-crm --tag source-zoho-crm .
	docker build --target destination-zoho-crm --tag destination-zoho-crm .

sbom: ## what is in the programs, as CycloneDX JSON; needs cargo-cyclonedx
	$(CARGO) cyclonedx --format json --override-filename zoho-crm-connector.cdx

deny: ## licences, sources and advisories of what we depend on; needs cargo-deny
	$(CARGO) deny --locked check

install: ## the programs into ~/.cargo/bin
	$(CARGO) install --locked --path .

clean:
	$(CARGO) clean
