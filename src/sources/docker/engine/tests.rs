//! A socket that simulates an engine with a long list.

use super::{Engine, EngineSettings, restart_timeout};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

/// Five containers, in pages like those of a real engine; the container `gone` no longer exists.
fn page_response(path: &str, gone: &str) -> (u16, String) {
    let from = match path.split_once("before%22%3A%5B%22") {
        Some((_, id)) if id.starts_with(gone) => {
            return (404, "{\"message\": \"gone\"}".to_owned());
        }
        Some((_, id)) => id[..1].parse::<usize>().unwrap() + 1,
        None => 0,
    };
    let until = if path.contains("limit=2") { from + 2 } else { 5 };
    let page: Vec<_> = (from..until.min(5)).map(|id| format!("{{\"Id\": \"{id}\"}}")).collect();
    (200, format!("[{}]", page.join(",")))
}

async fn serve_engine(
    listener: UnixListener,
    gone: &'static str,
    request_count: Arc<Mutex<usize>>,
) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut head = vec![0; 4096];
        let length = client.read(&mut head).await.unwrap();
        let Some(path) = str::from_utf8(&head[..length]).unwrap().split(' ').nth(1) else {
            continue;
        };
        *request_count.lock().unwrap() += 1;
        let (status, body) = match gone.strip_prefix("knows ") {
            Some(supported) => unpaged_response(path, supported),
            None => page_response(path, gone),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

/// An engine, or a proxy in front of it, that supports paging not at all or only in part.
fn unpaged_response(path: &str, supported: &str) -> (u16, String) {
    let until = if supported == "limit" && path.contains("limit=2") { 2 } else { 5 };
    let all: Vec<_> = (0..until).map(|id| format!("{{\"Id\": \"{id}\"}}")).collect();
    (200, format!("[{}]", all.join(",")))
}

async fn check(gone: &'static str, questions: usize) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let request_count = Arc::default();
    tokio::spawn(serve_engine(
        UnixListener::bind(&socket).unwrap(),
        gone,
        Arc::clone(&request_count),
    ));
    let settings =
        EngineSettings { url: Some(socket.display().to_string()), ..EngineSettings::default() };
    let engine = Engine { page_size: 2, ..Engine::connect(&settings).await.unwrap() };
    let all = engine.list_all_containers(|container| container.id.unwrap()).await.unwrap();
    assert_eq!(all.entries, ["0", "1", "2", "3", "4"]);
    assert_eq!(*request_count.lock().unwrap(), questions);
}

#[tokio::test]
async fn long_list_is_read_in_pages() {
    check("none", 3).await;
}

#[tokio::test]
async fn vanished_paging_cursor_falls_back_to_whole_list() {
    check("3", 4).await;
}

#[tokio::test]
async fn engine_that_ignores_limit_and_before_is_asked_once() {
    check("knows nothing", 1).await;
}

#[tokio::test]
async fn engine_that_ignores_before_is_asked_for_the_whole_list() {
    check("knows limit", 3).await;
}

#[test]
fn restart_may_take_a_minute_more_than_the_stop_timeout() {
    for (stop_timeout, seconds) in
        [(None, 70), (Some(0), 60), (Some(300), 360), (Some(-1), 3600), (Some(i64::MAX), 3600)]
    {
        assert_eq!(restart_timeout(stop_timeout).as_secs(), seconds, "{stop_timeout:?}");
    }
}
