//! The engines whose containers handlers see.

use crate::{
    model::source_name::SourceName,
    settings::{GlueEngineSettings, GlueSettings},
    sources::{
        Source,
        docker::{Engine, SwarmState},
    },
};
use anyhow::Result;
use std::sync::Arc;

/// An engine that docker-glue follows.
#[derive(Debug, Clone)]
pub struct GlueEngine {
    pub settings: GlueEngineSettings,
    pub source: Source,
}

impl GlueEngine {
    /// Makes a source for each engine of the settings.
    pub fn all_of(settings: &GlueSettings) -> Arc<[Self]> {
        let engines = settings.engines.iter().map(|settings| Self {
            source: Source::new(settings.name().clone()),
            settings: settings.clone(),
        });
        engines.collect()
    }

    pub fn name(&self) -> &SourceName {
        self.settings.name()
    }
}

/// Asks the first engine that is a manager of a Swarm. Returns `None` if none is.
///
/// # Errors
/// If no engine is a manager, and one does not answer.
pub async fn query_swarm(engines: &[GlueEngineSettings]) -> Result<Option<SwarmState>> {
    let mut result = Ok(None);
    for settings in engines {
        let answer = async { Engine::connect(&settings.engine).await?.query_swarm().await };
        match answer.await {
            Ok(None) => {}
            Ok(swarm) => return Ok(swarm),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}
