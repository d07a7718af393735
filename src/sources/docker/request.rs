//! Sends the requests of `EngineState` to the engine.

use super::{
    cache::{CacheQuery, CacheResponse, CacheSnapshot, InspectOutcome},
    convert,
    engine::Engine,
    engine_state::{EngineAnswer, EngineRequest, ListAnswer},
    image_labels::ImageAnswer,
    inspect_cache::InspectResult,
    lenient::{LenientList, ParseWarning},
};
use crate::{
    model::{
        container::{Container, ContainerId, ImageId},
        source_name::SourceName,
        world::{MAX_NETWORK_HOPS, Network},
    },
    sources::{filter::ContainerFilter, source::ConsumerId},
};
use anyhow::Result;
use bollard::models::ContainerSummary;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Sends a request. A list that fails ends the connection; a failure about one container or image
/// is an answer.
pub(crate) async fn send_request(engine: &Engine, request: EngineRequest) -> Result<EngineAnswer> {
    Ok(match request {
        EngineRequest::List { worlds, fingerprints } => {
            EngineAnswer::List(list_all(engine, &worlds, fingerprints).await?)
        }
        EngineRequest::Part { world, ids, networks, cached } => {
            let (response, warnings) = list_part(engine, &ids, networks, &cached).await?;
            let query = CacheQuery::Ids { ids, networks };
            EngineAnswer::Part { world, query, response, warnings }
        }
        EngineRequest::Details { world, id, filter } => {
            let outcome = inspect_details(engine, &id, &filter).await;
            EngineAnswer::Details { world, id, outcome }
        }
        EngineRequest::Image { world, id, filter } => {
            let answer = find_image(engine, &id, &filter).await;
            EngineAnswer::Image { world, id, answer: answer.map_err(|error| format!("{error:#}")) }
        }
        EngineRequest::Description(id) => {
            let result = describe_container(engine, &id).await;
            EngineAnswer::Description(id, result)
        }
    })
}

type WorldSnapshots = BTreeMap<ConsumerId, CacheSnapshot>;

/// One container of a list, for all consumers.
struct ListEntry {
    containers: Vec<Arc<Container>>,
    fingerprint: Option<(ContainerId, String)>,
}

/// Lists all containers, page by page if containers are kept: see [`Engine::list_all_containers`].
async fn list_all(
    engine: &Engine,
    worlds: &WorldSnapshots,
    fingerprints: bool,
) -> Result<ListAnswer> {
    let keep = |summary: ContainerSummary| ListEntry {
        fingerprint: fingerprints
            .then(|| convert::parse_fingerprint(&summary, &engine.source))
            .flatten(),
        containers: read_containers(summary, &engine.source, worlds),
    };
    if worlds.is_empty() {
        let list = engine.list_at_once(keep).await?;
        return Ok(build_answer(list, worlds, fingerprints, &BTreeMap::new()));
    }
    let (list, networks) =
        tokio::try_join!(engine.list_all_containers(keep), engine.list_networks())?;
    Ok(build_answer(list, worlds, fingerprints, &networks))
}

/// Returns the container as each of the worlds keeps it, in their order.
fn read_containers(
    summary: ContainerSummary,
    source: &SourceName,
    worlds: &WorldSnapshots,
) -> Vec<Arc<Container>> {
    if worlds.is_empty() {
        return Vec::new();
    }
    let Some(container) = convert::parse_container(summary, source) else { return Vec::new() };
    let mut cached = worlds.values();
    let last = cached.next_back();
    let mut kept: Vec<_> = cached.map(|cached| cached.reuse_unchanged(container.clone())).collect();
    kept.extend(last.map(|cached| cached.reuse_unchanged(container)));
    kept
}

fn build_answer(
    LenientList { entries, warnings, .. }: LenientList<ListEntry>,
    worlds: &WorldSnapshots,
    fingerprints: bool,
    networks: &BTreeMap<String, Network>,
) -> ListAnswer {
    let mut containers: Vec<_> = worlds.iter().map(|_| Vec::with_capacity(entries.len())).collect();
    let mut read_fingerprints = BTreeMap::new();
    for entry in entries {
        read_fingerprints.extend(entry.fingerprint);
        for (kept, container) in containers.iter_mut().zip(entry.containers) {
            kept.push(container);
        }
    }
    let responses = containers
        .into_iter()
        .map(|containers| CacheResponse { containers, networks: Some(networks.clone()) });
    ListAnswer {
        worlds: worlds.keys().copied().zip(responses).collect(),
        fingerprints: fingerprints.then_some(read_fingerprints),
        warnings,
    }
}

async fn list_part(
    engine: &Engine,
    ids: &BTreeSet<ContainerId>,
    networks: bool,
    cached: &CacheSnapshot,
) -> Result<(CacheResponse, Vec<ParseWarning>)> {
    let part = list_with_owners(engine, ids, cached);
    let (LenientList { entries, warnings, .. }, networks) = if networks {
        let (part, networks) = tokio::try_join!(part, engine.list_networks())?;
        (part, Some(networks))
    } else {
        let part = part.await?;
        // Podman sends no event when a network is created.
        let is_missing = cached.misses_network(&part.entries);
        (part, if is_missing { Some(engine.list_networks().await?) } else { None })
    };
    Ok((CacheResponse { containers: entries, networks }, warnings))
}

/// Returns these containers, and those whose network they use if their events were ignored so far.
async fn list_with_owners(
    engine: &Engine,
    ids: &BTreeSet<ContainerId>,
    cached: &CacheSnapshot,
) -> Result<LenientList<Arc<Container>>> {
    let mut list = engine.list_containers(ids).await?;
    // A network owner may itself share the network of another container; the length of such a chain
    // is limited.
    for _ in 0..MAX_NETWORK_HOPS {
        let owners = cached.find_new_network_owners(&list.entries);
        if owners.is_empty() {
            break;
        }
        let more = engine.list_containers(&owners).await?;
        if more.entries.is_empty() {
            break;
        }
        list.entries.extend(more.entries);
        list.warnings.extend(more.warnings);
    }
    Ok(list.filter_map(|container| Some(Arc::new(container))))
}

async fn inspect_details(
    engine: &Engine,
    id: &ContainerId,
    filter: &ContainerFilter,
) -> InspectOutcome {
    match engine.inspect_details(id, filter).await {
        Ok(Some(details)) => InspectOutcome::Found(details),
        Ok(None) => InspectOutcome::Gone,
        Err(error) => {
            tracing::debug!("could not inspect a container: {error:#}");
            InspectOutcome::Failed
        }
    }
}

/// The answer that there is no such image is a result, not an error.
async fn find_image(
    engine: &Engine,
    id: &ImageId,
    filter: &ContainerFilter,
) -> Result<ImageAnswer> {
    Ok(match engine.inspect_image(id.as_str()).await? {
        Some(image) => ImageAnswer::Found(Arc::new(filter.slim_image(image))),
        None => ImageAnswer::Failed(format!("Docker no longer has image {}", id.as_str()).into()),
    })
}

async fn describe_container(engine: &Engine, id: &ContainerId) -> InspectResult {
    match engine.describe_container(id).await {
        Ok(Some(result)) => InspectResult::Found(result),
        Ok(None) => InspectResult::Gone,
        Err(error) => {
            tracing::debug!("could not inspect a container: {error:#}");
            InspectResult::Failed
        }
    }
}
