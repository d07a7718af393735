//! `migrate`: prints the labels with the same meaning as those for another proxy.

use super::{CommandOutput, inputs};
use crate::{
    migrate::{self, Program, ServiceInput, output},
    model::container::{Container, ContainerState},
    settings::{Settings, options::MigrationSource},
    sources::{
        ContainerFilter,
        compose::{self, Deployment, VariableMode},
    },
};
use anyhow::Result;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";

/// Translates the files, or if there are none the running containers.
pub(crate) async fn run_migrate(
    from: MigrationSource,
    files: &[PathBuf],
    settings: &Settings,
) -> Result<CommandOutput> {
    let program = match from {
        MigrationSource::Traefik => Program::Traefik,
        MigrationSource::NginxProxy => Program::NginxProxy,
        MigrationSource::Caddy => Program::Caddy,
        MigrationSource::EasyHaproxy => Program::EasyHaproxy,
    };
    let (titles, services) =
        if files.is_empty() { read_containers(settings).await? } else { read_files(files)? };
    let translation = migrate::translate(program, &services);
    Ok(output::format_translation(program, &titles, &translation).into())
}

/// Returns the names of the files, and their services.
fn read_files(files: &[PathBuf]) -> Result<(Vec<String>, Vec<ServiceInput>)> {
    let environment = std::env::vars().collect();
    let mut services = Vec::new();
    for (input, file) in files.iter().enumerate() {
        // The labels of a stack are those of its services.
        let (deployment, variables) = (Deployment::Swarm, VariableMode::Keep);
        let project = compose::read_project_with(file, &environment, deployment, variables)?;
        let all = project.services.iter().chain(&project.inactive);
        services.extend(all.map(|service| ServiceInput::from_service(service, input)));
    }
    Ok((files.iter().map(|file| file.display().to_string()).collect(), services))
}

/// Returns the projects of the running containers, and one container of each service.
async fn read_containers(settings: &Settings) -> Result<(Vec<String>, Vec<ServiceInput>)> {
    let widen =
        |interest| ContainerFilter { matches_all: true, reads_environment: true, ..interest };
    let (world, _) = inputs::load_world(settings, widen).await?;
    let runs = |container: &&Arc<Container>| {
        matches!(container.state, ContainerState::Running | ContainerState::Paused)
    };
    // By project and service. Containers of one service have the same labels.
    let mut services: BTreeMap<(String, String), &Container> = BTreeMap::new();
    for container in world.containers.values().filter(runs) {
        let label = |key: &str| container.labels.get(key).cloned();
        let name = label(SERVICE_LABEL).unwrap_or_else(|| container.name.clone());
        services.entry((label(PROJECT_LABEL).unwrap_or_default(), name)).or_insert(container);
    }
    let mut titles: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for ((project, name), container) in services {
        let title = match project.as_str() {
            "" => "running containers without a project".to_owned(),
            project => format!("running containers of the project {project}"),
        };
        if titles.last() != Some(&title) {
            titles.push(title);
        }
        all.push(ServiceInput::from_container(container, &name, titles.len() - 1));
    }
    if titles.is_empty() {
        titles.push("the running containers".to_owned());
    }
    Ok((titles, all))
}
