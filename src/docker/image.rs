//! What an image brings along.

use super::{convert, engine::Engine};
use crate::container::Image;
use anyhow::Result;
use bollard::errors::Error;

impl Engine {
    /// `None` where the engine has no image of that name.
    pub async fn image(&self, name: &str) -> Result<Option<Image>> {
        let inspection = async {
            match self.docker.inspect_image(name).await {
                Ok(said) => Ok(Some(said)),
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let said = self.answer(&format!("image {name}"), self.patience.inspect, inspection).await?;
        Ok(said.map(convert::image))
    }
}
