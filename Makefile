# The two commands that matter are `make run` and `make test`; both work on a
# fresh machine. What a fresh machine lacks is got and built once by the scripts
# in deploy/setup, into ~/.cache/detections (DETECTIONS_CACHE).

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

DATA     ?= $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/detections
RUN_ARGS ?=
VERSION  ?= $(or $(shell git describe --always --dirty --tags 2>/dev/null),unknown)

setup := deploy/setup
step  := $(setup)/step.sh
env   := $(setup)/env.sh
# What needs cgo, and so has no part in the lane without it.
cgo_packages := -e /cmd/ -e /media/av$$ -e /infer/ort$$
lint  := go tool -modfile=.ci/tools.mod golangci-lint run

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## get and build what the program is built with, once
	@$(step) 'set-up: packages' $(setup)/packages.sh build
	@$(step) 'set-up: Go' $(setup)/go.sh
	@$(step) 'set-up: FFmpeg' $(setup)/ffmpeg.sh
	@$(step) 'set-up: ONNX Runtime' $(setup)/onnxruntime.sh

.PHONY: setup-test
setup-test: setup
	@$(step) 'set-up: packages for tests' $(setup)/packages.sh test
	@$(step) 'set-up: test media' $(setup)/testmedia.sh
	@$(step) 'set-up: test clients' $(setup)/testclients.sh

.PHONY: build
build: setup ## build bin/detections
	@$(step) build $(env) go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/detections ./cmd/detections
	@$(env) bash -c 'ln -fL "$$ORT_LIBRARY" bin/libonnxruntime.so 2>/dev/null || cp --remove-destination "$$ORT_LIBRARY" bin/libonnxruntime.so'

.PHONY: rootfs
rootfs: build # everything that is in an image, in bin/rootfs
	@$(step) rootfs deploy/image/rootfs.sh bin/detections bin/libonnxruntime.so bin/rootfs

.PHONY: sbom
sbom: build ## write the bill of materials, CycloneDX, to bin/sbom.json
	@$(setup)/packages.sh sbom
	@$(step) sbom bash -c 'deploy/image/sbom.sh bin/detections > bin/sbom.json'

ENGINE ?= $(shell command -v docker >/dev/null && docker info >/dev/null 2>&1 && echo docker || echo podman)
IMAGE  ?= detections:$(VERSION)

.PHONY: image
image: rootfs ## build the image of the hub (IMAGE=name:tag, ENGINE=docker or podman)
	@$(step) image $(ENGINE) build -q -f deploy/image/Containerfile -t '$(IMAGE)' --build-context rootfs=bin/rootfs \
		--build-arg VERSION='$(VERSION)' --build-arg REVISION='$(shell git rev-parse HEAD 2>/dev/null)' $(IMAGE_ARGS) bin/rootfs

.PHONY: image-twice
image-twice: build ## build the image twice, in different places, and see that both are the same
	@$(setup)/packages.sh containers
	@$(step) 'image, twice' deploy/image/twice.sh

.PHONY: run
run: build ## build it and serve on 127.0.0.1:8080 (DATA=folder, RUN_ARGS='more flags')
	bin/detections serve --listen 127.0.0.1:8080 --data '$(DATA)' $(RUN_ARGS)

.PHONY: test
test: vet unit nocgo race ## every test: vet, all packages, those without cgo, the race detector

.PHONY: vet
vet: setup-test
	@$(step) 'go vet' $(env) go vet ./...
	@$(step) 'go vet of the checks for a GPU' $(env) go vet -tags gpu ./infer/ort ./cmd/detections

.PHONY: unit
unit: setup-test ## test all packages
	@$(step) 'go test' $(env) --test go test -timeout 20m ./...

.PHONY: nocgo
nocgo: setup-test ## test the pure packages without cgo
	@$(step) 'go test without cgo' $(env) --test bash -euo pipefail -c \
		'export CGO_ENABLED=0; packages=$$(go list ./... | grep -v $(cgo_packages)); go test $$packages'

.PHONY: race
race: setup-test ## test under the race detector, long tests left out
	@$(step) 'go test -race' $(env) --test go test -race -short -timeout 20m ./...

.PHONY: e2e
e2e: build setup-test ## test the built program from outside
	@$(step) e2e $(env) --test go test -count=1 -timeout 20m -run E2E ./cmd/...

.PHONY: fidelity
fidelity: setup-test ## show that every container, codec and cut gives the right pictures, times and boxes
	@$(step) fidelity $(env) --test env CUT=$(or $(CUT),16384) go test -count=1 -v -timeout 40m \
		-run 'Fidelity|RealFiles|Truncated|FirstFrame' ./media/mediatest ./media/av ./cmd/detections

.PHONY: test-chaos
test-chaos: build setup-test ## kill, restart and take over the hub under load: CHAOS=100 times, by CHAOS_CLIENTS=20
	@$(step) chaos $(env) --test env CHAOS=$(or $(CHAOS),100) CHAOS_CLIENTS=$(or $(CHAOS_CLIENTS),20) \
		go test -count=1 -v -timeout 60m -run Chaos ./cmd/detections

.PHONY: test-swap
test-swap: build setup-test ## change the model under load, SWAPS=50 times: PASS if that adds at most a batch to the longest gap
	@$(step) swap $(env) --test env SWAPS=$(or $(SWAPS),50) go test -count=1 -v -timeout 20m -run 'E2ESwaps' ./cmd/detections

.PHONY: gpu-check
gpu-check: setup-test ## every check that needs a GPU: ORT_LIBRARY=PATH of a build for it
	@deploy/gpu-check.sh

.PHONY: test-hostile
test-hostile: build setup-test ## what strangers may try, for longer: HOSTILE=20000 mutated inputs, a tenth through a hub; bombs; 10,000 watchers, who come back at once
	@rm -f bin/hostile.md bin/hostile.md.json
	@$(step) 'bombs, pointers, the sandbox' $(env) --test env HOSTILE=1000 go test -count=1 -v -timeout 10m \
		-run 'Bombs|Fetched|Sandbox|Reach|Ends|Pointers' ./media/worker/sandbox ./media/mediatest ./media/worker ./cmd/detections
	@$(step) 'a ceiling of memory, which takes root' $(env) --test go test -count=1 -v -tags ceiling -run E2EMemoryCeiling ./cmd/detections
	@$(step) watchers $(env) --test env DETECTIONS_WATCHERS=10000 go test -count=1 -v -run 'IdleWatchers|ManyReconnect' ./web
	@$(step) 'mutated inputs' $(hostile) -run Mutated ./media/mediatest
	@$(step) 'mutated inputs through a hub, and its neighbour' $(hostile) -run E2EHostileMedia ./cmd/detections
	@cat bin/hostile.md

hostile = $(env) --test env HOSTILE=$(or $(HOSTILE),20000) HOSTILE_TABLE='$(CURDIR)/bin/hostile.md' go test -count=1 -v -timeout 30m

.PHONY: fuzz
fuzz: setup-test ## give every parser of strangers' bytes made-up ones, each for FUZZTIME=30s
	@$(env) --test bash -euo pipefail -c 'for p in $$(go list ./...); do \
		for f in $$(go test -list "^Fuzz" $$p | grep "^Fuzz" || true); do \
		$(step) "fuzz $$f" go test -run NONE -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30s) $$p; done; done'

.PHONY: asan
asan: setup-test ## test the C code, and mutated inputs in it, under the address sanitizer, which does not fit into a decoder process
	@$(step) asan $(env) --test env HOSTILE=$(or $(HOSTILE),2000) ASAN_OPTIONS=detect_leaks=0 \
		go test -asan -count=1 -timeout 30m -v -run 'InProcess$$|Asan|Scaling|Units' ./media/av ./media/mediatest

.PHONY: test-power
test-power: build setup-test ## cut the power of a file system in a loop device; needs root
	@$(step) power $(env) --test env CHAOS=$(or $(CHAOS),10) go test -count=1 -v -tags power -run PowerLoss ./cmd/detections

.PHONY: setup-deploy
setup-deploy: rootfs setup-test
	@$(step) 'set-up: containers' $(setup)/packages.sh containers
	@$(step) 'image' podman --runtime runc --cgroup-manager cgroupfs build -q --format docker --timestamp 0 -f deploy/image/Containerfile \
		-t detections:test --build-context rootfs=bin/rootfs --build-arg VERSION='$(VERSION)' --build-arg REVISION='$(VERSION)' bin/rootfs
	@$(step) 'a version that breaks' $(env) go build -trimpath -buildvcs=false -tags faults,nextschema -ldflags '-X main.version=$(VERSION)-next' -o bin/next/detections ./cmd/detections
	@rm -f bin/image.tar
	@podman save --quiet --format docker-archive -o bin/image.tar detections:test

deploy_env = DETECTIONS_TEST_IMAGE='$(CURDIR)/bin/image.tar' DETECTIONS_TEST_NEXT='$(CURDIR)/bin/next/detections'

.PHONY: test-deploy
test-deploy: setup-deploy check-deploy ## deploy real containers under load, break them, roll back: CHAOS=10 times; needs root
	@$(step) deploy $(env) --test env CHAOS=$(or $(CHAOS),10) CHAOS_CLIENTS=$(or $(CHAOS_CLIENTS),20) $(deploy_env) \
		go test -count=1 -v -tags deploy -timeout 90m -run '^TestDeploy' ./cmd/detections

.PHONY: docs-deployment
docs-deployment: setup-deploy ## run the commands of docs/deployment.md anew and record what they print; needs root
	@$(step) docs-deployment $(env) --test env $(deploy_env) go test -count=1 -v -tags deploy -timeout 20m -run RecordDeployments ./cmd/detections

.PHONY: check-deploy
check-deploy: setup-test ## check files of the deployment that are not run here: alert rules, manifests, compose
	@$(setup)/packages.sh monitoring
	@$(step) 'alert rules' bash -c 'promtool check rules deploy/monitoring/alerts.yml && \
		promtool test rules deploy/monitoring/alerts_test.yml && promtool check config --syntax-only deploy/monitoring/prometheus.yml'
	@$(step) 'manifests and compose' $(env) go run -C .ci/manifests . $(CURDIR)/deploy/kubernetes/detections.yaml $(CURDIR)/deploy/compose/compose.yaml

.PHONY: check-arm64
check-arm64: setup ## compile for arm64 what needs no cgo
	@$(step) 'arm64, without cgo' $(env) bash -euo pipefail -c \
		'export GOARCH=arm64 CGO_ENABLED=0; packages=$$(go list ./... | grep -v -e "^detections$$" $(cgo_packages)); go build $$packages'

.PHONY: bench
bench: build setup-test ## measure the program, and print a table
	@$(step) bench $(env) --test go run ./cmd/detections-bench

.PHONY: bench-live
bench-live: build setup-test ## measure live media over WebRTC, and print tables
	@$(step) bench-live $(env) --test go run ./cmd/detections-bench --only live

.PHONY: bench-timeline
bench-timeline: setup ## measure the store of events, and print tables
	@$(step) bench-timeline $(env) go run ./cmd/detections-bench --only timeline

.PHONY: bench-batcher
bench-batcher: setup ## measure the batcher with the real engine, and compare policies in the simulation
	@$(step) bench-batcher $(env) bash -euo pipefail -c \
		'go run ./cmd/detections-bench --only batcher; go test -count=1 -run Simulation -v ./infer; go test -run NONE -bench Scheduling ./infer'

.PHONY: docs-scheduling
docs-scheduling: setup ## draw the distribution of latencies in docs/ anew
	@$(step) docs-scheduling $(env) env DETECTIONS_SVG='$(CURDIR)/docs/scheduling.svg' go test -count=1 -run SimulationMix ./infer

.PHONY: docs-page
docs-page: build setup-test ## take the picture of the page in docs/ anew
	@$(step) docs-page $(env) --test env DETECTIONS_BINARY='$(CURDIR)/bin/detections' node web/page/test/picture.mjs '$(CURDIR)/docs/page.jpg'

.PHONY: docs-dashboard
docs-dashboard: build setup-test ## draw the dashboard of a hub under load in docs/ anew
	@$(step) 'set-up: monitoring' $(setup)/packages.sh monitoring
	@$(step) docs-dashboard $(env) --test docs/dashboard.sh

.PHONY: lint
lint: setup-test ## golangci-lint, shellcheck, the page's types, and whether go fix and go mod tidy have something to change
	@$(step) golangci-lint $(env) $(lint)
	@$(step) shellcheck bash -c "git ls-files -z '*.sh' .ci/run .ci/govulncheck | xargs -0 shellcheck -x"
	@$(step) 'types of the page' $(env) --test bash -c '"$$DETECTIONS_TEST_CLIENTS"/node_modules/.bin/tsc -p web/page'
	@$(step) 'go fix' $(env) go fix -diff ./...
	@$(step) 'go mod tidy' $(env) go mod tidy -diff

.PHONY: security
security: setup-test ## gosec, and known vulnerabilities
	@$(step) gosec $(env) $(lint) --enable-only gosec
	@$(step) govulncheck $(env) .ci/govulncheck

.PHONY: clean
clean: ## remove what was built here; the cache outside stays
	rm -rf bin
