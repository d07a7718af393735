# Packages of another release, unpacked without installing anything. Needs Debian, for apt. For scripts in /bin/sh that
# run `. tests/packages.sh` and define KEEP, a folder, and say().

DEBIAN_KEY=/usr/share/keyrings/debian-archive-keyring.gpg
# Ubuntu's signing key since 2018. The file is verified by this checksum.
UBUNTU_KEY=ubuntu-keyring-2018-archive.gpg
UBUNTU_KEY_SHA256=5ebbeeb474034b1fa7e50abbe6f136e177fc826219e01f314b3623f7b3097e96
# The caller names the location of Ubuntu's packages: UBUNTU_MIRROR=http://…/ubuntu
UBUNTU=${UBUNTU_MIRROR:-}

die() {
    say "$*"
    exit 1
}

need_apt() {
    command -v apt-get >/dev/null || die "apt-get is needed, to take packages of Debian"
    [ -e "$DEBIAN_KEY" ] || die "$DEBIAN_KEY is missing: install debian-archive-keyring"
}

mirror() {
    uri=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    uri=${uri:-$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' \
        /etc/apt/sources.list 2>/dev/null || true)}
    [ -n "$uri" ] || die "no mirror of Debian is named in debian.sources or sources.list"
    echo "$uri"
}

# source_of SUITE: prints its line of sources.list. Suites of Ubuntu are listed by name.
source_of() {
    case $1 in
    resolute) echo "deb [signed-by=$(ubuntu_key)] $UBUNTU $1 main universe" ;;
    *) echo "deb [signed-by=$DEBIAN_KEY] $(mirror) $1 main" ;;
    esac
}

# The package with the key cannot be verified without the key, so the key itself is verified.
ubuntu_key() {
    key=$KEEP/$UBUNTU_KEY
    if ! [ -e "$key" ]; then
        part=$KEEP/ubuntu-keyring
        mkdir -p "$part"
        file=$(curl -fsS "$UBUNTU/dists/noble/main/binary-amd64/Packages.xz" | xz -dc |
            awk '/^Package: / { name = $2 } /^Filename: / && name == "ubuntu-keyring" { print $2 }')
        curl -fsS -o "$part/deb" "$UBUNTU/$file"
        dpkg-deb -x "$part/deb" "$part/root"
        mv "$part/root/etc/apt/trusted.gpg.d/$UBUNTU_KEY" "$key.part"
        echo "$UBUNTU_KEY_SHA256  $key.part" | sha256sum --check --quiet >&2 ||
            die "the key in Ubuntu's ubuntu-keyring is not the known one"
        mv "$key.part" "$key"
        rm -rf "$part"
    fi
    echo "$key"
}

# in_suite DIR SUITE APT-GET-WORDS...: runs apt-get as if SUITE were the only source and nothing were installed.
in_suite() {
    dir=$1 suite=$2
    shift 2
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/parts"
    : >"$dir/status"
    source_of "$suite" >"$dir/sources.list"
    # experimental contains only packages that are newer than in unstable.
    [ "$suite" != experimental ] || source_of sid >>"$dir/sources.list"
    apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" \
        -o Dir::Etc::sourceparts="$dir/parts" -o Dir::Etc::preferencesparts="$dir/parts" \
        -o Dir::State="$dir" -o Dir::State::lists="$dir/lists" \
        -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
        -o Dir::Cache::archives="$dir/cache/archives" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
}

# unpack DIR SUITE PACKAGE...: unpacks the packages with all their dependencies, including libc, into DIR/root.
unpack() {
    place=$1 from=$2
    shift 2
    rm -rf "$place"
    mkdir -p "$place/root" "$place/bin"
    in_suite "$place" "$from" update
    in_suite "$place" "$from" -y --no-install-recommends --download-only -t "$from" install "$@"
    for deb in "$place"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$place/root"
    done
    rm -rf "$place/lists" "$place/cache"
}

# In some releases the newest name of the loader is a link.
loader() { find "$1/root" -name 'ld-linux*.so.*' ! -type d | head -n 1; }

libraries() {
    find "$1/root" -type d \( -path '*/lib/*-linux-gnu' -o -path '*/usr/lib' \) | tr '\n' ':'
}

patchelf_at() {
    command -v patchelf && return
    tool=$KEEP/patchelf
    if ! [ -e "$tool/root/usr/bin/patchelf" ]; then
        unpack "$tool" bookworm patchelf
    fi
    # patchelf may be of another release than this machine, so it runs with its own libraries.
    wrap "$tool" usr/bin/patchelf
    echo "$tool/bin/patchelf"
}

# adopt DIR PROGRAM: copies DIR/root/PROGRAM into DIR/bin, changed to find its own loader and libraries.
adopt() {
    name=$(basename "$2")
    cp -L "$1/root/$2" "$1/bin/$name.part"
    # A statically linked program has no loader.
    if "$patchelf" --print-interpreter "$1/bin/$name.part" >/dev/null 2>&1; then
        "$patchelf" --set-interpreter "$(loader "$1")" --force-rpath \
            --set-rpath "$(libraries "$1")" "$1/bin/$name.part"
    fi
    mv "$1/bin/$name.part" "$1/bin/$name"
}

# wrap DIR PROGRAM: writes a script that starts the unchanged program, for a program that never re-executes itself.
wrap() {
    script=$1/bin/$(basename "$2")
    printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$(loader "$1")" \
        "$(libraries "$1")" "$1/root/$2" >"$script"
    chmod +x "$script"
}

# count WORD LOG: sums "… 3 passed; 1 failed; …" over all test binaries.
count() {
    awk -v word="$1" '/^test result:/ { for (i = 2; i < NF; i++) if ($(i + 1) == word ";") sum += $i }
        END { print sum + 0 }' "$2"
}
