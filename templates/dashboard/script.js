"use strict";
// Applies the updates that the server sends (/events), and keeps the reader's focus, scroll position and open groups.
// The server escapes foreign text in its HTML; numbers are set as text.

const by = (id) => document.getElementById(id);
const map = by("map");
const filter = by("filter");
let stream = null;

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function swap({ id, version, html }) {
  const old = by(id);
  if (old?.dataset.v === version) return;
  const fresh = element(html);
  if (!old) return map.append(fresh);
  const focused = old.contains(document.activeElement);
  if (fresh.localName === "details") fresh.open = old.open;
  old.replaceWith(fresh);
  if (focused) fresh.querySelector("summary")?.focus({ preventScroll: true });
}

function arrange(order) {
  const there = new Set(order);
  for (const group of [...map.children]) if (!there.has(group.id)) group.remove();
  let next = map.firstElementChild;
  for (const id of order) {
    const group = by(id);
    if (group === next) next = next.nextElementSibling;
    else map.insertBefore(group, next);
  }
}

function count(id, numbers) {
  const places = by(id)?.querySelectorAll("[data-n]") ?? [];
  numbers.forEach((number, at) => {
    const text = places[at]?.firstChild;
    if (text && text.data !== number) text.data = number;
  });
}

function find() {
  const text = filter.value.trim().toLowerCase();
  let found = 0;
  for (const group of map.children) {
    group.hidden = !group.dataset.find.includes(text);
    if (!group.hidden) found += 1;
  }
  by("found").textContent = text ? `${found} of ${map.children.length}` : "";
}

function live(text) {
  document.body.className = text ? "stale" : "live";
  by("live").textContent = text;
}

function close() {
  stream?.close();
  stream = null;
}

function open() {
  close();
  stream = new EventSource("events");
  stream.onmessage = (event) => {
    const { parts = [], order, numbers = {} } = JSON.parse(event.data);
    parts.forEach(swap);
    if (order) arrange(order);
    for (const [id, texts] of Object.entries(numbers)) count(id, texts);
    if (parts.length || order) find();
    live("");
  };
  stream.onerror = () => {
    live("Not live: docker-balancer does not answer. Retrying…");
    // The browser does not retry after an HTTP error, but a later try may succeed.
    if (stream.readyState === EventSource.CLOSED) setTimeout(look, 2000);
  };
}

// A hidden page has no connection.
function look() {
  if (document.hidden) close();
  else open();
}

filter.addEventListener("input", find);
filter.form.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("visibilitychange", look);
find();
look();
