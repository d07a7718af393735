//! Which certificates are found in a directory, and which problems.

use super::fixture::{TestDirectory, render_words};
use crate::{
    model::certificate::CertificateOrigin,
    sources::certificate::{CertificateWithKey, DirectoryReading, read_directories},
};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

/// Each line of `certificates` is `NAME PATH = WORDS`: the words are the PEM text that HAProxy gets. Each line of
/// `problems` is `PATH: TEXT`.
fn check(files: &str, certificates: &str, problems: &[&str]) {
    let directory = TestDirectory::new(files);
    let reading = read_directories(&directory.paths());
    check_certificates(&directory, &reading, certificates);
    let reported = reading.problems.iter().map(|problem| directory.relative(&problem.to_string()));
    assert_eq!(reported.collect::<Vec<_>>(), *problems, "in\n{files}");
}

fn check_certificates(directory: &TestDirectory, reading: &DirectoryReading, expected: &str) {
    let expected = expected.lines().map(str::trim).filter(|line| !line.is_empty());
    let expected: Vec<_> = expected.map(|line| line.split_once(" = ").unwrap()).collect();
    let titles: Vec<_> = reading.certificates.iter().map(|c| title(directory, c)).collect();
    assert_eq!(titles, expected.iter().map(|(title, _)| *title).collect::<Vec<_>>());
    for (certificate, (title, words)) in reading.certificates.iter().zip(expected) {
        let matches = certificate.pem.reveal() == render_words(words);
        assert!(matches, "{title} is not {words}, but:\n{}", certificate.pem.reveal());
        assert_eq!(certificate.certificate.pem_bytes, certificate.pem.len());
    }
}

fn title(directory: &TestDirectory, certificate: &CertificateWithKey) -> String {
    let CertificateOrigin::File { path } = &certificate.certificate.origin else { panic!() };
    let path = directory.relative(&path.display().to_string());
    format!("{} {path}", certificate.certificate.name)
}

#[test]
fn bundle_is_normalised() {
    for words in [
        "leaf:a chain key:a",
        "key:a leaf:a chain",
        "chain leaf:a key:a",
        "root chain key:a leaf:a root",
        "comment crlf:leaf:a comment crlf:chain crlf:key:a",
        "dhparam leaf:a chain request key:a",
        "leaf:a leaf:b chain key:a",
        "leaf:a chain key:b key:a",
    ] {
        check(&format!("site.pem = {words}"), "site site.pem = leaf:a chain key:a", &[]);
    }
}

#[test]
fn certificate_and_key_in_two_files_are_paired_by_content() {
    check(
        "a.crt = leaf:a chain
         a.key = key:a
         a.chain.pem = chain
         a.dhparam.pem = dhparam
         b.pem = leaf:b
         other-name = key:b
         c.test.crt = leaf:c
         c.test.key = key:c
         README = text",
        "a a.crt = leaf:a chain key:a
         b b.pem = leaf:b key:b
         c.test c.test.crt = leaf:c key:c",
        &[],
    );
}

#[test]
fn directory_names_certificate_of_generic_files() {
    check(
        "a.test/fullchain.pem = leaf:a chain
         a.test/privkey.pem = key:a
         a.test/cert.pem = leaf:a
         a.test/chain.pem = chain
         a.test/README = text
         b.test/cert.pem = leaf:b
         b.test/key.pem = key:b
         secret/tls.crt = leaf:c chain
         secret/tls.key = key:c
         d.test_ecc/d.test.cer = leaf:d
         d.test_ecc/d.test.key = key:d
         d.test_ecc/ca.cer = chain
         d.test_ecc/fullchain.cer = leaf:d chain",
        "a.test a.test/fullchain.pem = leaf:a chain key:a
         b.test b.test/cert.pem = leaf:b key:b
         d.test_ecc d.test_ecc/fullchain.cer = leaf:d chain key:d
         secret secret/tls.crt = leaf:c chain key:c",
        &[],
    );
}

#[test]
fn links_are_followed_and_two_levels_read() {
    check(
        "live/a.test/fullchain.pem -> ../../.archive/a/fullchain2.pem
         live/a.test/privkey.pem -> ../../.archive/a/privkey2.pem
         .archive/a/fullchain1.pem = leaf:old chain
         .archive/a/privkey1.pem = key:old
         .archive/a/fullchain2.pem = leaf:a chain
         .archive/a/privkey2.pem = key:a
         one/two/three/b.pem = leaf:b key:b
         one/two/c.pem = leaf:c key:c
         loop/self -> ../loop
         nowhere.pem -> missing.pem
         .hidden.pem = leaf:d key:d",
        "a.test live/a.test/fullchain.pem = leaf:a chain key:a
         c one/two/c.pem = leaf:c key:c",
        &[],
    );
}

#[test]
fn half_renewed_pair_does_not_serve_leaf_without_chain() {
    check(
        "a/cert.pem = leaf:a
         a/fullchain.pem = leaf:b chain
         a/privkey.pem = key:a",
        "",
        &["a/fullchain.pem: the private key in a/privkey.pem does not belong to this certificate"],
    );
}

#[test]
fn names_come_from_alternative_names_or_else_common_name() {
    for (name, expected) in [
        ("a", "a.test"),
        ("cn", "cn.test"),
        ("many", "b.test xn--bcher-kva.test *.b.test"),
        ("rsa", "rsa.test"),
        ("own", "own.test"),
    ] {
        let directory = TestDirectory::new(&format!("x.pem = leaf:{name} key:{name}"));
        let reading = read_directories(&directory.paths());
        let names: Vec<_> =
            reading.certificates[0].certificate.names.iter().map(ToString::to_string).collect();
        assert_eq!(names.join(" "), expected);
    }
}

#[test]
fn metadata_is_read() {
    let directory = TestDirectory::new("a.pem = leaf:rsa key:rsa\nb.pem = leaf:future key:future");
    let reading = read_directories(&directory.paths());
    let text = |c: &CertificateWithKey| {
        let c = &c.certificate;
        format!("{} {} {} {} {}", c.name, c.key_type, c.issuer, c.not_before, c.not_after)
    };
    let texts: Vec<_> = reading.certificates.iter().map(text).collect();
    assert_eq!(
        texts,
        ["a RSA Test CA 157766400 67090118400", "b ECDSA Test CA 32482944000 67090118400"]
    );
}

/// Runs a shell command in the directory.
fn run(directory: &TestDirectory, command: &str) {
    let mut shell = Command::new("sh");
    let output = shell.args(["-ec", command]).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn keys_of_openssl_are_read() {
    for (key, expected) in [
        ("openssl ecparam -name prime256v1 -genkey", "ECDSA"),
        ("openssl ecparam -name secp384r1 -genkey -noout", "ECDSA"),
        ("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", "ECDSA"),
        ("openssl genrsa -traditional 2048", "RSA"),
        ("openssl genrsa 2048", "RSA"),
    ] {
        let directory = TestDirectory::new("");
        let sign = "openssl req -new -x509 -key x.key -subj /CN=x.test -out x.crt";
        run(&directory, &format!("umask 077; {key} > x.key; {sign}"));
        let reading = read_directories(&directory.paths());
        let found = reading.certificates.iter().map(|c| c.certificate.key_type.to_string());
        assert_eq!(found.collect::<Vec<_>>(), [expected], "{key}");
        assert_eq!(reading.problems, [], "{key}");
    }
}

#[test]
fn file_that_cannot_serve_is_reported() {
    const NO_KEY: &str = "no private key for this certificate in its file or its directory";
    const ENCRYPTED: &str = "the private key is encrypted; write it without a passphrase, for example with `openssl pkey`";
    const DAMAGED: &str = "a certificate or key in the file is damaged or incomplete";
    const UNSUPPORTED: &str =
        "the key is not one of ECDSA P-256, ECDSA P-384 and RSA with 2048 to 8192 bits";
    const NOT_PEM: &str =
        "the file is not PEM; convert it, for example with `openssl x509 -inform der`";
    for (files, problems) in [
        ("x.pem = leaf:a chain", vec![format!("x.pem: {NO_KEY}")]),
        ("x.pem = leaf:a encrypted", vec![format!("x.pem: {ENCRYPTED}")]),
        ("x.pem = leaf:a legacy", vec![format!("x.pem: {ENCRYPTED}")]),
        ("x.crt = leaf:a\nx.key = encrypted", vec![format!("x.crt: {ENCRYPTED}")]),
        ("x.pem = leaf:a\nx-key.pem = legacy", vec![format!("x.pem: {ENCRYPTED}")]),
        ("x.pem = leaf:ed25519 key:ed25519", vec![format!("x.pem: {UNSUPPORTED}")]),
        (
            "x.pem = leaf:a key:b",
            vec!["x.pem: the private key in x.pem does not belong to this certificate".to_owned()],
        ),
        (
            "x.crt = leaf:a\nx.key = key:b\ny.crt = leaf:c",
            vec![
                "x.crt: the private key in x.key does not belong to this certificate".to_owned(),
                format!("y.crt: {NO_KEY}"),
            ],
        ),
        ("x.pem = text", vec![format!("x.pem: {NOT_PEM}")]),
        ("x.pem =", vec![format!("x.pem: {NOT_PEM}")]),
        ("x.pem = garbage", vec![format!("x.pem: {DAMAGED}")]),
        (
            "x.pem = leaf:a half:key:a",
            vec![format!("x.pem: {NO_KEY}"), format!("x.pem: {DAMAGED}")],
        ),
        ("x.pem = half:leaf:a", vec![format!("x.pem: {DAMAGED}")]),
        (
            "x.pem = leaf:nameless key:nameless",
            vec!["x.pem: the certificate has no host name".to_owned()],
        ),
        ("x.pem = leaf:ip key:ip", vec!["x.pem: the certificate has no host name".to_owned()]),
        ("x.pem = large", vec!["x.pem: the file has more than 65536 bytes".to_owned()]),
    ] {
        check(files, "", &problems.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[test]
fn files_of_other_kinds_are_skipped() {
    check(
        "README = text
         data.json = large
         empty =
         only.key = key:a
         chain.pem = chain root
         dhparam.pem = dhparam
         new.csr = request
         ca.pem = leaf:ca
         ca.key = key:ca",
        "",
        &[],
    );
}

#[test]
fn key_that_all_users_can_read_is_reported_and_used() {
    let directory = TestDirectory::new("a.crt = leaf:a\na.key = key:a");
    fs::set_permissions(directory.path().join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let reading = read_directories(&directory.paths());
    check_certificates(&directory, &reading, "a a.crt = leaf:a key:a");
    let texts: Vec<_> =
        reading.problems.iter().map(|p| directory.relative(&p.to_string())).collect();
    let expected =
        "a.crt: the private key in a.key can be read by all users; remove this permission";
    assert_eq!(texts, [expected]);
}

#[test]
fn missing_directory_is_reported() {
    let directory = TestDirectory::new("");
    let reading = read_directories(&[directory.path().join("none"), directory.path().to_owned()]);
    let texts: Vec<_> =
        reading.problems.iter().map(|p| directory.relative(&p.to_string())).collect();
    assert_eq!(texts, ["none: cannot read it: No such file or directory (os error 2)"]);
}

#[test]
fn pipe_is_not_opened() {
    let directory = TestDirectory::new("a.pem = leaf:a key:a");
    let pipe = directory.path().join("b.pem");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reading = read_directories(&directory.paths());
    check_certificates(&directory, &reading, "a a.pem = leaf:a key:a");
}
