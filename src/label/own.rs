//! The labels of a container that are its own: set where the container was created, not by its image.
//!
//! Pure.

use std::collections::BTreeMap;

/// Labels that Compose sets on each container of a service, after those of the image and of the file.
const COMPOSE: &str = "com.docker.compose.";

/// Removes the labels that the image has with the same value.
///
/// Compose labels the images that it builds with their project and service, so these two are equal on each of
/// their containers. They are kept where another label of Compose is the container's own: then Compose created the
/// container, and set all of them.
pub fn keep_own(labels: &mut BTreeMap<String, String>, image: &BTreeMap<String, String>) {
    let is_own = |key: &String, value: &String| image.get(key) != Some(value);
    let is_compose = |key: &String| key.starts_with(COMPOSE);
    let by_compose = labels.iter().any(|(key, value)| is_compose(key) && is_own(key, value));
    labels.retain(|key, value| is_own(key, value) || (by_compose && is_compose(key)));
}

#[cfg(test)]
mod tests {
    use super::keep_own;
    use std::collections::BTreeMap;

    fn map(pairs: &str) -> BTreeMap<String, String> {
        let pairs = pairs.split_whitespace().filter_map(|pair| pair.split_once('='));
        let full = |key: &str| key.replace("c.", "com.docker.compose.");
        pairs.map(|(key, value)| (full(key), value.to_owned())).collect()
    }

    fn check(labels: &str, image: &str, expected: &str) {
        let mut own = map(labels);
        keep_own(&mut own, &map(image));
        assert_eq!(own, map(expected), "{labels} of an image with {image}");
    }

    #[test]
    fn label_of_the_image_is_removed() {
        check("a=1 b=2", "", "a=1 b=2");
        check("a=1 b=2", "a=1", "b=2");
        check("a=1 b=2", "a=1 b=2 c=3", "");
    }

    #[test]
    fn label_that_differs_from_the_images_is_kept() {
        check("a=2", "a=1", "a=2");
    }

    #[test]
    fn label_of_compose_is_kept_where_compose_created_the_container() {
        let image = "c.project=bank c.service=web";
        check(
            &format!("{image} c.oneoff=False a=1"),
            &format!("{image} a=1"),
            &format!("{image} c.oneoff=False"),
        );
        check("c.project=evil c.service=web", image, "c.project=evil c.service=web");
        check(image, image, "");
        let forged = format!("{image} c.oneoff=False");
        check(&forged, &forged, "");
    }
}
