# What a person types. Everything is installed that is missing (tests/setup.sh says what).
CARGO ?= cargo

.PHONY: demo test check matrix bench soak fuzz setup setup-tests

# The main job, shown: containers get labels, requests reach them.
demo: setup
	$(CARGO) build --quiet --bin docker-balancer
	sh tests/whoami-image.sh demo
	sh examples/demo.sh

# All tests, with a real HAProxy and a real Docker engine among them.
test: setup-tests check
	$(CARGO) build --bins
	$(CARGO) test --workspace

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# The live tests against HAProxy of Debian 12, 13 and unstable, which are not installed for it.
matrix: setup-tests
	sh tests/matrix.sh

bench: setup
	$(CARGO) bench --bench core --bench daemon

# Containers come, go and die for five minutes while clients keep asking (SOAK=short: one, SOAK=long: an hour).
soak: setup
	sh tests/whoami-image.sh soak
	$(CARGO) bench --bench soak

# Label text → configuration, for a minute (needs cargo-fuzz).
fuzz:
	RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir tests/fuzz labels -- -max_total_time=60

setup:
	sh tests/setup.sh

setup-tests:
	sh tests/setup.sh --tests
