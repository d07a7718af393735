use super::*;
use std::os::unix::fs::MetadataExt;

fn host(name: &str) -> AcmeHost {
    name.parse().unwrap()
}

fn ca() -> DirectoryUrl {
    "https://ca.example.com/dir".parse().unwrap()
}

/// Returns a certificate and its key.
fn make(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn write(store: &Store, name: &str) -> (String, String) {
    let made = make(name);
    store.write_certificate(&host(name), (&made.0, &made.1), &ca()).unwrap();
    made
}

fn read(store: &Store, name: &str) -> Option<String> {
    store.read_certificates().remove(&host(name)).map(|stored| stored.pem.to_string())
}

#[test]
fn newest_certificate_is_live_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    for _ in 0..4 {
        let (chain, key) = write(&store, "a.example.com");
        assert_eq!(read(&store, "a.example.com"), Some(join_pem(&chain, &key).to_string()));
        let live = folder.path().join("ca.example.com-dir/live/a.example.com");
        assert_eq!(fs::read_to_string(live.join("fullchain.pem")).unwrap(), chain);
        assert_eq!(fs::metadata(live.join("privkey.pem")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&live).unwrap().mode() & 0o777, 0o700);
    }
    let kept = fs::read_dir(folder.path().join("ca.example.com-dir/archive/a.example.com"));
    assert_eq!(kept.unwrap().count(), KEPT_ISSUES);
}

#[test]
fn interrupted_write_leaves_the_earlier_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    let (chain, key) = write(&store, "a.example.com");
    let archive = folder.path().join("ca.example.com-dir/archive/a.example.com");
    for files in [&[][..], &["privkey.pem"], &["privkey.pem", "fullchain.pem"]] {
        let part = archive.join("2");
        fs::create_dir_all(&part).unwrap();
        for file in files {
            fs::write(part.join(file), "half").unwrap();
        }
        assert_eq!(read(&store, "a.example.com"), Some(join_pem(&chain, &key).to_string()));
    }
    fs::write(archive.join("2/meta.json"), "{}").unwrap();
    assert_eq!(read(&store, "a.example.com"), Some(join_pem(&chain, &key).to_string()));
    let (chain, key) = write(&store, "a.example.com");
    assert_eq!(read(&store, "a.example.com"), Some(join_pem(&chain, &key).to_string()));
}

#[test]
fn complete_certificate_without_link_is_used_and_linked() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    write(&store, "a.example.com");
    let (chain, key) = write(&store, "a.example.com");
    let link = folder.path().join("ca.example.com-dir/live/a.example.com");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../archive/a.example.com/1", &link).unwrap();
    assert_eq!(read(&store, "a.example.com"), Some(join_pem(&chain, &key).to_string()));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("../archive/a.example.com/2"));
}

#[test]
fn wildcard_and_its_host_have_folders_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    write(&store, "*.example.com");
    write(&store, "example.com");
    let hosts: Vec<_> =
        store.read_certificates().into_keys().map(|host| host.to_string()).collect();
    assert_eq!(hosts, ["example.com", "*.example.com"]);
    store.remove_certificates(&host("*.example.com")).unwrap();
    store.remove_certificates(&host("*.example.com")).unwrap();
    assert_eq!(store.read_certificates().len(), 1);
}

#[test]
fn pending_order_is_kept_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    let key = Some(Zeroizing::new("secret-key".to_owned()));
    let order = PendingOrder { url: "https://ca.example.com/order/1".to_owned(), key };
    assert!(!format!("{order:?}").contains("secret"));
    store.write_pending(&host("*.example.com"), &order).unwrap();
    assert_eq!(store.pending_hosts().into_iter().collect::<Vec<_>>(), [host("*.example.com")]);
    let read = store.read_pending(&host("*.example.com")).unwrap();
    assert_eq!((read.url, read.key), (order.url, order.key));
    store.remove_pending(&host("*.example.com")).unwrap();
    assert!(store.pending_hosts().is_empty());
}

#[test]
fn account_is_retired_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    assert!(store.read_account().is_none());
    store.write_account("{}").unwrap();
    let path = folder.path().join("ca.example.com-dir/account.json");
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    store.retire_account().unwrap();
    assert!(store.read_account().is_none());
    assert!(folder.path().join("ca.example.com-dir/account.json.unknown").exists());
}

#[test]
fn pem_has_no_empty_line() {
    assert_eq!(*join_pem("a\n\nb\n", "\r\nc\r\n"), "a\nb\nc\n");
}

#[test]
fn certificates_of_another_program_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    let mut read = BTreeMap::new();
    let mut expect = |store: &Store, expected: Option<(u64, &(String, String))>| {
        let found = store.read_other_certificates(&read).remove(&host("a.example.com"));
        let pem = found.as_ref().map(|(number, stored)| (*number, stored.pem.to_string()));
        let expected =
            expected.map(|(number, pair)| (number, join_pem(&pair.0, &pair.1).to_string()));
        assert_eq!(pem, expected);
        read.extend(found.map(|(number, _)| (host("a.example.com"), number)));
    };
    expect(&store, None);
    let first = write(&store, "a.example.com");
    expect(&store, Some((1, &first)));
    expect(&store, None);
    write(&store, "a.example.com");
    let third = write(&store, "a.example.com");
    expect(&store, Some((3, &third)));
    // One that is not complete.
    let archive = folder.path().join("ca.example.com-dir/archive/a.example.com");
    fs::create_dir(archive.join("4")).unwrap();
    expect(&store, None);
    store.remove_certificates(&host("a.example.com")).unwrap();
    expect(&store, None);
    let again = write(&store, "a.example.com");
    expect(&store, Some((1, &again)));
}

#[test]
fn copy_is_written_if_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path(), &ca());
    let archive = folder.path().join("ca.example.com-dir/archive/a.example.com");
    for expected in [1, 2] {
        let (chain, key) = make("a.example.com");
        let pem = join_pem(&chain, &key);
        for _ in 0..3 {
            store.write_copy(&host("a.example.com"), &pem, &ca()).unwrap();
        }
        assert_eq!(read(&store, "a.example.com"), Some(pem.to_string()));
        assert_eq!(fs::read_dir(&archive).unwrap().count(), expected);
    }
}
