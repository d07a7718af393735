//! A socket that plays an engine with a long list.

use super::{Access, Engine};
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

/// Five containers, in pages as a real engine makes them; `gone` is not known any more.
fn answer(path: &str, gone: &str) -> (u16, String) {
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

async fn serve(listener: UnixListener, gone: &'static str, asked: Arc<Mutex<usize>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut head = vec![0; 4096];
        let length = client.read(&mut head).await.unwrap();
        let Some(path) = str::from_utf8(&head[..length]).unwrap().split(' ').nth(1) else {
            continue;
        };
        *asked.lock().unwrap() += 1;
        let (status, body) = match gone.strip_prefix("knows ") {
            Some(knows) => answer_without_pages(path, knows),
            None => answer(path, gone),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

/// An engine, or a proxy before it, that knows no pages, or only half of it.
fn answer_without_pages(path: &str, knows: &str) -> (u16, String) {
    let until = if knows == "limit" && path.contains("limit=2") { 2 } else { 5 };
    let all: Vec<_> = (0..until).map(|id| format!("{{\"Id\": \"{id}\"}}")).collect();
    (200, format!("[{}]", all.join(",")))
}

async fn check(gone: &'static str, questions: usize) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    let asked = Arc::default();
    tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), gone, Arc::clone(&asked)));
    let access = Access { url: Some(socket.display().to_string()), ..Access::default() };
    let engine = Engine { page_size: 2, ..Engine::connect(&access).await.unwrap() };
    let all = engine.all_containers(|container| container.id.as_str().to_owned()).await.unwrap();
    assert_eq!(all.entries, ["0", "1", "2", "3", "4"]);
    assert_eq!(*asked.lock().unwrap(), questions);
}

#[tokio::test]
async fn a_long_list_is_read_in_pages() {
    check("none", 3).await;
}

#[tokio::test]
async fn a_page_whose_predecessor_is_gone_makes_it_one_list() {
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
