# `make help` lists the targets.
.DEFAULT_GOAL := help
# One target at a time, so that the output stays readable; cargo uses all cores anyway. `test-tools`
# sets PARALLEL.
ifndef PARALLEL
.NOTPARALLEL:
endif

# The cargo profile of everything that is built here: dev or release. One for
# all targets, so that nothing is compiled twice. CARGO_TARGET_DIR is respected.
PROFILE ?= dev
export PROFILE
CARGO_PROFILE := $(if $(filter-out dev,$(PROFILE)),--profile $(PROFILE))

# The operator that `cargo test` builds. `dev/cluster` would build one with different features.
BUILT_OPERATOR = $(abspath $(or $(CARGO_TARGET_DIR),target)/$(if $(CARGO_PROFILE),$(PROFILE),debug)/anon-operator)

# Operator flags for `make up`, for example: make up ARGS="--log-level debug"
ARGS ?=

# Whether KUBECONFIG is on the command line of make, which passes it to the recipes. That of the
# environment may be a cluster in production.
OWN_CLUSTER = $(findstring command line,$(origin KUBECONFIG))

.PHONY: help
help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(if $(OWN_CLUSTER),,prerequisites) ## Runs the complete flow, as a transcript; KUBECONFIG=… IMAGE=… on a cluster that you have
	dev/demo.sh $(if $(OWN_CLUSTER),--on-cluster)

.PHONY: up
up: ## Starts an API server and the operator, and leaves them running; ARGS="--…" passes operator flags
	@dev/cluster up -- $(ARGS)

.PHONY: down
down: ## Stops what `make up` started
	@dev/cluster down

.PHONY: test
test: lint test-unit test-cluster test-e2e test-tools ## Runs lint, then all tests

.PHONY: lint
lint: prerequisites ## Checks format, spelling, scripts, workflows, Dockerfile, chart, dependencies, docs; clippy and rustdoc without a warning
	cargo fmt --check
	dev/lint-spelling
	dev/lint-phrases
	dev/lint-shell
	dev/lint-workflows
	dev/lint-dockerfile
	dev/lint-chart
	dev/lint-dependencies
	dev/book
	dev/lint-snippets
	cargo clippy --locked --all-targets $(CARGO_PROFILE) -- -D warnings
	@# There are no Cargo examples: `--examples` selects the features that clippy has used above, so
	@# that no dependency is checked twice.
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items $(CARGO_PROFILE) \
	  --lib --bin kubectl-anon --examples

.PHONY: test-unit
test-unit: prerequisites-rust ## Tests that need no cluster, and nothing but Rust and a C compiler
	cargo test --locked $(CARGO_PROFILE) --lib --bins --test it

# Compiled first, so that no cluster runs during the compilation.
.PHONY: test-cluster
test-cluster: ## Tests on a real API server
	@dev/prerequisites cluster
	tests/cluster/run "$$(cargo test --locked $(CARGO_PROFILE) --test cluster --no-run --message-format=json-render-diagnostics \
	  | jq -r 'select(.executable and .target.name == "cluster").executable')"

# The oldest version that the chart can be installed on.
OLDEST = $(shell sed -n 's/^kubeVersion: ">=\(1\.[0-9]*\)\..*/\1/p' charts/anon-operator/Chart.yaml)

.PHONY: test-oldest
test-oldest: ## The same on the oldest supported version of Kubernetes
	ANON_DEV_KUBERNETES=$(OLDEST) $(MAKE) test-cluster

.PHONY: test-launcher
test-launcher: prerequisites ## Tests of dev/cluster: up, down, run, interruption
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) tests/launcher/run

# Where no node can run, it says so, and fails only if CI=true.
.PHONY: test-e2e
test-e2e: prerequisites ## An installation on real Pods, from helm install to uninstall, under load; only as root
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) tests/e2e/on-node

.PHONY: e2e
e2e: ## The same on a cluster that you have, such as kind: KUBECONFIG=… IMAGE=…
	$(if $(OWN_CLUSTER),,$(error KUBECONFIG is missing: make e2e KUBECONFIG=… IMAGE=…))
	tests/e2e/run

.PHONY: test-integrations
test-integrations: ## Tests of examples/integrations with the real proxies
	@dev/prerequisites integrations
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) dev/cluster run tests/integrations/run

.PHONY: test-examples
test-examples: ## Tests of the examples in five languages, and of the page in headless Chromium
	@dev/prerequisites examples
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) \
	  dev/cluster run --operator-flag --link-url=https://link.example.test/link tests/examples/run

.PHONY: test-gitops
test-gitops: ## Tests of what GitOps tools do with the objects: apply, drift, health, actions, prune; with Flux
	@dev/prerequisites gitops
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) dev/cluster run tests/gitops/run

.PHONY: test-outside
test-outside: ## Tests with third-party tools: Prometheus, an API tester, a generated client, five JOSE libraries
	@dev/prerequisites outside
	@# The API tester invents identity providers, whose key sets must not be fetched: --fetch-host.
	cargo test --locked $(CARGO_PROFILE) --test cluster --no-run
	ANON_OPERATOR_BIN=$(BUILT_OPERATOR) \
	  dev/cluster run --operator-flag --fetch-host=localhost --operator-flag --allow-sign-up --operator-flag --link-url=https://link.example.test/link \
	  tests/outside/run

# They wait more than they compute, so there are two at a time, the longest first. The output of each
# comes when it has ended.
TOOLS = test-gitops test-outside test-launcher test-integrations test-examples
# Both serve at the port that the configurations of examples/integrations name.
ifdef PARALLEL
test-examples: test-integrations
endif
.PHONY: test-tools
test-tools: ## test-launcher, -integrations, -examples, -gitops and -outside, two at a time
	@echo "running $(TOOLS)"
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target PARALLEL=yes $(TOOLS)

# Always with the release profile, since measurements of other profiles are meaningless. `cargo
# bench` would build all dependencies again (profile bench), so the programs are built like the
# operator. Each of them gets a cluster of its own, without the objects of the other one. The
# allocator has the settings of the image.
.PHONY: bench
bench: prerequisites ## Measures the operator, into target/bench/; ARGS=--quick runs a tenth of it, ARGS=--peers adds Envoy
	@dev/prerequisites bench
	cargo build --locked --release --bin anon-operator --bench scale --bench validate
	@status=0; export "$$(sed -n 's/^ENV \(GLIBC_TUNABLES=\)/\1/p' Dockerfile)"; \
	PROFILE=release dev/cluster run --no-operator cargo bench --locked --profile release \
	  --bench scale -- $(filter-out --peers --write-docs,$(ARGS)) || status=1; \
	$(if $(filter --peers,$(ARGS)),ANON_BENCH_ENVOY=$$(dev/python-env benches/validate/requirements.txt)/envoy) \
	PROFILE=release dev/cluster run --no-operator cargo bench --locked --profile release \
	  --bench validate -- $(ARGS) || status=1; \
	exit $$status

.PHONY: generate
generate: prerequisites-rust ## Regenerates the CRDs, docs/openapi.json and the generated tables in docs/ and the chart's README
	UPDATE_GENERATED=1 cargo test --locked $(CARGO_PROFILE) --test it generated

.PHONY: book
book: prerequisites ## Builds the documentation as a book, and prints its path
	@dev/book

.PHONY: pictures
pictures: prerequisites ## Draws the terminal pictures of README.md, from real runs
	cargo build --locked $(CARGO_PROFILE) --bins
	dev/pictures

.PHONY: manifests
manifests: prerequisites ## Writes plain YAML and a kustomize base into target/manifests/; ARGS="--set …" passes values of the chart
	dev/manifests target/manifests $(ARGS)

.PHONY: build
build: prerequisites-rust ## Builds the operator and kubectl-anon; PROFILE=release for the optimized ones
	cargo build --locked $(CARGO_PROFILE) --bins

.PHONY: clean
clean: down ## Removes everything built here, except the control plane's cache in ~/.cache/anon-operator
	cargo clean

.PHONY: prerequisites
prerequisites: ## Checks that the programs that the other targets need are installed
	@dev/prerequisites

.PHONY: prerequisites-rust
prerequisites-rust:
	@dev/prerequisites rust
