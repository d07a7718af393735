//! A file that a container mounts on its own: it goes on seeing the old one when another takes its place.

use super::value::{Dict, List};
use minijinja::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of a container that runs and has this file mounted, if one has.
pub(super) fn mounting(containers: &[Value], own: Option<&str>, place: &Path) -> Option<String> {
    let dicts = || containers.iter().filter_map(Value::downcast_object_ref::<Dict>);
    let is_own = |it: &&Dict| own.is_some() && it.word("id") == own;
    let places = seen_from_outside(dicts().find(is_own), place);
    let runs = |it: &&Dict| it.find("running").is_some_and(Value::is_true) && !is_own(it);
    let found = dicts().filter(runs).find(|it| {
        let mut sources = mounts(it).filter_map(|it| it.word("source").map(Path::new));
        sources.any(|source| places.iter().any(|place| is_same(source, place)))
    });
    found.and_then(|it| it.word("name")).map(str::to_owned)
}

fn mounts(container: &Dict) -> impl Iterator<Item = &Dict> {
    let list = container.find("mounts").and_then(Value::downcast_object_ref::<List>);
    list.into_iter().flat_map(|list| &list.items).filter_map(Value::downcast_object_ref)
}

/// What the engine calls it where we run in a container.
fn seen_from_outside(own: Option<&Dict>, place: &Path) -> Vec<PathBuf> {
    let Some(own) = own else { return vec![place.to_owned()] };
    let outside = mounts(own).filter_map(|mount| {
        let rest = place.strip_prefix(mount.word("destination")?).ok()?;
        Some(Path::new(mount.word("source")?).join(rest))
    });
    outside.collect()
}

/// A mount may name it by a folder that is a link. Others are not looked at: their disks may be away.
fn is_same(source: &Path, place: &Path) -> bool {
    let is_alike = source.file_name() == place.file_name();
    is_alike && (source == place || fs::canonicalize(source).is_ok_and(|it| it == place))
}

#[cfg(test)]
mod tests {
    use super::mounting;
    use crate::{
        container::ContainerId,
        docker::{Description, Roster},
        handler::template::container::Gallery,
    };
    use serde_json::json;
    use std::{os::unix::fs::symlink, path::Path, sync::Arc};

    fn described(
        id: &str,
        running: bool,
        mounts: &[(&str, &str)],
    ) -> (ContainerId, Arc<Description>) {
        let mounts = mounts.iter().map(|(source, destination)| {
            json!({ "Type": "bind", "Source": source, "Destination": destination })
        });
        let said = json!({
            "Id": id, "State": { "Running": running }, "Mounts": mounts.collect::<Vec<_>>(),
        });
        let id = ContainerId::new(id);
        let name = format!("name-of-{}", id.as_str());
        (id.clone(), Arc::new(Description { id, name, json: said.to_string().into() }))
    }

    #[test]
    fn a_file_that_is_mounted_alone_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let real = folder.join("real.conf");
        std::fs::write(&real, "").unwrap();
        symlink(".", folder.join("link")).unwrap();
        let link = folder.join("link/real.conf").display().to_string();
        let roster: Roster = [
            described(
                "web",
                true,
                &[("/srv/conf/web.conf", "/etc/web.conf"), ("/srv/all", "/all")],
            ),
            described("old", false, &[("/srv/conf/old.conf", "/etc/old.conf")]),
            described("linked", true, &[(&link, "/etc/x.conf")]),
            described("us", true, &[("/srv/conf", "/conf"), ("/srv/conf/us.conf", "/us.conf")]),
        ]
        .into();
        let mut gallery = Gallery::default();
        gallery.follow(&roster);
        let containers = gallery.containers();
        let name = |own, place: &str| mounting(&containers, own, Path::new(place));
        for (own, place, expected) in [
            (None, "/srv/conf/web.conf", Some("name-of-web")),
            (None, "/srv/conf/other.conf", None),
            (None, "/srv/all/x.conf", None),
            (None, "/srv/conf/old.conf", None),
            (None, &real.display().to_string(), Some("name-of-linked")),
            (Some("us"), "/conf/web.conf", Some("name-of-web")),
            (Some("us"), "/srv/conf/web.conf", None),
            (Some("us"), "/us.conf", None),
        ] {
            assert_eq!(name(own, place).as_deref(), expected, "{own:?} {place}");
        }
    }
}
