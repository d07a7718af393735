//! Inspection of images: their labels, environment and exposed ports.

use super::{convert, engine::Engine};
use crate::model::container::Image;
use anyhow::Result;

impl Engine {
    /// Returns `None` if the engine has no image of that name.
    pub async fn inspect_image(&self, name: &str) -> Result<Option<Image>> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if !name.chars().all(is_name) {
            return Ok(None);
        }
        let (what, path) = (format!("image {name}"), format!("/images/{name}/json"));
        let found = self.query_object(&what, &path, self.timeouts.inspect).await?;
        Ok(found.map(|object| convert::parse_image(object.value)))
    }
}
