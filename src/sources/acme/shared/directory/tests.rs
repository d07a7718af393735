use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

fn store() -> (TempDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    fs::create_dir(&state).unwrap();
    let store = Directory::new(&root.path().join("shared"), &state);
    (root, store)
}

#[tokio::test]
async fn one_of_many_takers_creates_a_lease() {
    let (_root, store) = store();
    for term in 1..=20 {
        let takers = (0..32).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.create_lease(term, &format!("{n}")).await })
        });
        let results = futures_util::future::join_all(takers).await;
        let won = results.into_iter().filter(|result| *result.as_ref().unwrap() == Ok(true));
        assert_eq!(won.count(), 1);
        assert_eq!(store.read_lease().await.unwrap().unwrap().0, term);
    }
    let kept = list_names(&store.folder.join("leader")).unwrap();
    assert_eq!(kept.len(), usize::try_from(KEPT_LEASES).unwrap());
    let files = fs::read_dir(store.folder.join("leader")).unwrap();
    assert_eq!(files.count(), kept.len(), "a temporary file remains");
}

#[tokio::test]
async fn files_are_private() {
    let (root, store) = store();
    store.create_lease(1, "lease").await.unwrap();
    store.write(EntryKind::Challenge, "a", "key").await.unwrap();
    for (path, mode) in [
        ("shared", 0o700),
        ("shared/leader", 0o700),
        ("shared/leader/1.json", 0o600),
        ("shared/challenges", 0o700),
        ("shared/challenges/a.json", 0o600),
    ] {
        let found = fs::metadata(root.path().join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{path}");
    }
}

#[tokio::test]
async fn odd_files_are_empty_or_skipped() {
    let (_root, store) = store();
    store.write(EntryKind::Member, "a", "text").await.unwrap();
    let folder = store.folder_of(EntryKind::Member);
    fs::create_dir(folder.join("directory.json")).unwrap();
    symlink("/dev/zero", folder.join("link.json")).unwrap();
    nix::unistd::mkfifo(&folder.join("pipe.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::create(folder.join("long.json")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    fs::write(folder.join(".a.json.x.docker-glue"), "half").unwrap();
    fs::write(folder.join("other.txt"), "other").unwrap();
    let found = store.list(EntryKind::Member).await.unwrap();
    let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.len())).collect();
    let expected = [("a", 4), ("directory", 0), ("link", 0), ("long", 0), ("pipe", 0)];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn directory_that_is_not_mounted_is_an_error() {
    let (root, store) = store();
    assert_eq!(store.read_lease().await, Ok(None));
    store.create_lease(1, "lease").await.unwrap();
    store.read_lease().await.unwrap();
    fs::rename(root.path().join("shared"), root.path().join("away")).unwrap();
    for create in [false, true] {
        if create {
            fs::create_dir(root.path().join("shared")).unwrap();
        }
        // Also after a restart.
        let again = Directory::new(&store.folder, &root.path().join("state"));
        for store in [&store, &again] {
            let errors = [
                store.read_lease().await.unwrap_err(),
                store.create_lease(2, "lease").await.unwrap_err(),
                store.write(EntryKind::Member, "a", "text").await.unwrap_err(),
            ];
            for error in errors {
                assert!(error.to_string().contains("is it mounted?"), "{error}");
            }
        }
        // Nothing is written in its place.
        let entries = fs::read_dir(root.path().join("shared")).map(Iterator::count).ok();
        assert_eq!(entries, create.then_some(0));
    }
    let memo = root.path().join("state/shared-store");
    assert_eq!(fs::read_to_string(&memo).unwrap(), store.memo_text());
    fs::remove_file(memo).unwrap();
    assert_eq!(store.read_lease().await, Ok(None));
}
