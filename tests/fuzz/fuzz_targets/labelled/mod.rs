//! Labels as text that a fuzzer can change.

use docker_glue::model::container::Container;
use std::sync::Arc;

/// Returns the container with these labels: `KEY=VALUE`, separated by U+0001. A key may omit `glue_http_80_`, so that
/// even short inputs contain options.
pub fn label_container(bare: &Container, text: &str) -> Container {
    let mut container = bare.clone();
    let labels = Arc::make_mut(&mut container.labels);
    for label in text.split('\u{1}') {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let is_whole = key.starts_with("glue_");
        let key = if is_whole { key.to_owned() } else { format!("glue_http_80_{key}") };
        labels.insert(key, value.to_owned());
    }
    container
}
