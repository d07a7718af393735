# What a person types. Everything is installed that is missing (tests/setup.sh says what).
CARGO ?= cargo

.PHONY: demo test lint check matrix servers bench soak fuzz attack tls-scan setup setup-tests build install deb rpm packages packages-test reproduce image docs screenshots setup-packages

# The main job, shown: containers get labels, requests reach them.
demo: setup
	$(CARGO) build --quiet --bin docker-balancer
	sh tests/whoami-image.sh demo
	sh examples/demo.sh

# Lints, dependencies, and all tests: a real HAProxy, a real Docker engine and a minute of each fuzz target among them.
test: setup-tests
	sh tests/all.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

check: lint
	sh tests/deny.sh
	sh tests/fuzz.sh --build

# The live tests against HAProxy of Debian 12, 13 and unstable, and against Docker engines of Debian 13,
# unstable and Ubuntu 26.04, which are not installed for it.
matrix: setup-tests
	sh tests/matrix.sh
	sh tests/engines.sh

# PostgreSQL of two releases, name servers, syslog, a game, WireGuard and TURN behind public ports of TCP and UDP.
servers: setup-tests
	$(CARGO) test --test balancer servers:: -- --include-ignored --nocapture --test-threads 2

bench: setup
	$(CARGO) bench --bench core --bench daemon

# Containers come, go and die for five minutes while clients keep asking (SOAK=short: one, SOAK=long: an hour).
soak: setup
	sh tests/whoami-image.sh soak
	$(CARGO) bench --bench soak

# What others may say (labels, HAProxy's answers, Docker's, files, requests), made up by libFuzzer, for a minute each.
fuzz:
	sh tests/fuzz.sh

# The TLS policies, scanned by testssl.sh and openssl. Takes a minute for each.
tls-scan: setup
	sh tests/tls-scan.sh

# What attackers and failing machines have tried, tried again, with a table of what held.
attack: setup-tests
	sh tests/attack.sh

# The book as HTML, in target/site/docs/src. It links to files next to docs/, which are copied to the same place.
docs:
	sh packaging/book.sh

# The pictures of README, of the dashboard and of `status`.
screenshots: setup-tests
	$(CARGO) test --test docs -- --ignored pictures_are_renewed

# The programs as they are packaged, their man pages and completions.
build:
	sh packaging/build.sh

# For other packagers: make install DESTDIR=/somewhere. Builds nothing: `make build` has.
install:
	sh packaging/install.sh "$(DESTDIR)"

deb: setup-packages build
	sh packaging/deb.sh

rpm: setup-packages build
	sh packaging/rpm.sh

packages: deb rpm

# docker-glue-balancer, on a Debian that is pulled, or on another base: make image BASE=…
image: build
	docker build --file packaging/Dockerfile $(if $(BASE),--build-arg BASE=$(BASE)) \
		--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) \
		--build-arg REVISION=$$(git rev-parse HEAD) --tag docker-glue-balancer .

# Installed, upgraded under load, rebooted and removed on a small Debian with systemd; and the image, with compose.
packages-test: setup-tests packages
	rm -rf target/packages-test && mkdir -p target/packages-test
	PACKAGE_VERSION=0.1.0+second sh packaging/deb.sh >/dev/null
	mv target/package/docker-glue_*+second* target/packages-test/
	cp target/package/docker-glue* target/packages-test/
	sh packaging/deb.sh >/dev/null && sh packaging/rpm.sh >/dev/null
	for file in target/package/*; do cmp "$$file" "target/packages-test/$${file##*/}" || exit 1; done
	GLUE_PACKAGES=$(CURDIR)/target/packages-test $(CARGO) test --test packages -- --ignored

# The packages once more, built in another folder: the same bytes.
reproduce: packages
	sh packaging/reproduce.sh

setup:
	sh tests/setup.sh

setup-tests:
	sh tests/setup.sh --tests

setup-packages:
	sh tests/setup.sh --packages
