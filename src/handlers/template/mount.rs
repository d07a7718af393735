//! Finds containers that mount a single file: they would still see the old file after it was replaced.

use super::value::{Dict, ValueList};
use minijinja::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the name of a running container that mounts this file, if there is one.
pub(crate) fn find_mounting_container(
    containers: &[Value],
    own: Option<&str>,
    path: &Path,
) -> Option<String> {
    let dicts = || containers.iter().filter_map(Value::downcast_object_ref::<Dict>);
    let is_own = |dict: &&Dict| own.is_some() && dict.text("id") == own;
    let host_paths = paths_on_host(dicts().find(is_own), path);
    let runs =
        |dict: &&Dict| dict.find_value("running").is_some_and(Value::is_true) && !is_own(dict);
    let found = dicts().filter(runs).find(|dict| {
        let mut sources =
            container_mounts(dict).filter_map(|dict| dict.text("source").map(Path::new));
        sources.any(|source| host_paths.iter().any(|path| is_same_file(source, path)))
    });
    found.and_then(|dict| dict.text("name")).map(str::to_owned)
}

fn container_mounts(container: &Dict) -> impl Iterator<Item = &Dict> {
    let list = container.find_value("mounts").and_then(Value::downcast_object_ref::<ValueList>);
    list.into_iter().flat_map(|list| &list.items).filter_map(Value::downcast_object_ref)
}

/// Returns the paths on the engine's host, if docker-glue runs in a container.
fn paths_on_host(own: Option<&Dict>, path: &Path) -> Vec<PathBuf> {
    let Some(own) = own else { return vec![path.to_owned()] };
    let outside = container_mounts(own).filter_map(|mount| {
        let group = path.strip_prefix(mount.text("destination")?).ok()?;
        Some(Path::new(mount.text("source")?).join(group))
    });
    outside.collect()
}

/// Compares paths. A mount source may contain a linked folder, so it is resolved if the file name is the same. Others
/// are not resolved, because their disk may not respond.
fn is_same_file(source: &Path, path: &Path) -> bool {
    let is_alike = source.file_name() == path.file_name();
    is_alike && (source == path || fs::canonicalize(source).is_ok_and(|path_buf| path_buf == path))
}

#[cfg(test)]
mod tests {
    use super::find_mounting_container;
    use crate::{
        handlers::template::container::ContainerViews,
        model::container::ContainerId,
        sources::{ContainerMap, Description},
    };
    use serde_json::json;
    use std::{collections::BTreeMap, os::unix::fs::symlink, path::Path, sync::Arc};

    fn container_description(
        id: &str,
        running: bool,
        mounts: &[(&str, &str)],
    ) -> (ContainerId, Arc<Description>) {
        let mounts = mounts.iter().map(|(source, destination)| {
            json!({ "Type": "bind", "Source": source, "Destination": destination })
        });
        let inspection = json!({
            "Id": id, "State": { "Running": running }, "Mounts": mounts.collect::<Vec<_>>(),
        });
        let id = ContainerId::new(id);
        let name = format!("name-of-{}", id.as_str());
        (id.clone(), Arc::new(Description { id, name, json: inspection.to_string().into() }))
    }

    #[test]
    fn file_mounted_alone_is_attributed_to_its_container() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let real = folder.join("real.conf");
        std::fs::write(&real, "").unwrap();
        symlink(".", folder.join("link")).unwrap();
        let link = folder.join("link/real.conf").display().to_string();
        let roster: ContainerMap = [
            container_description(
                "web",
                true,
                &[("/srv/conf/web.conf", "/etc/web.conf"), ("/srv/all", "/all")],
            ),
            container_description("old", false, &[("/srv/conf/old.conf", "/etc/old.conf")]),
            container_description("linked", true, &[(&link, "/etc/x.conf")]),
            container_description(
                "us",
                true,
                &[("/srv/conf", "/conf"), ("/srv/conf/us.conf", "/us.conf")],
            ),
        ]
        .into();
        let mut gallery = ContainerViews::default();
        gallery.update_views(&roster, &BTreeMap::new());
        let containers = gallery.containers();
        let name = |own, path: &str| find_mounting_container(&containers, own, Path::new(path));
        for (own, path, expected) in [
            (None, "/srv/conf/web.conf", Some("name-of-web")),
            (None, "/srv/conf/other.conf", None),
            (None, "/srv/all/x.conf", None),
            (None, "/srv/conf/old.conf", None),
            (None, &real.display().to_string(), Some("name-of-linked")),
            (Some("us"), "/conf/web.conf", Some("name-of-web")),
            (Some("us"), "/srv/conf/web.conf", None),
            (Some("us"), "/us.conf", None),
        ] {
            assert_eq!(name(own, path).as_deref(), expected, "{own:?} {path}");
        }
    }
}
