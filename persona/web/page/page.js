"use strict";
// All text goes in as text nodes, never as markup: whatever a user wrote stays what it is.

const $ = (id) => document.getElementById(id);
const HEADINGS = { interests: "Interests", aesthetic: "Visual taste", affect: "Manner" };

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function ask(path, body) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (answer.status === 401) $("access").hidden = false;
  if (!answer.ok) {
    const problem = await answer.json().catch(() => null);
    throw new Error(problem?.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer;
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

async function attempt(work) {
  notice("");
  try {
    await work();
  } catch (error) {
    notice(error.message);
  }
}

function hit(found) {
  const open = () => { location.hash = found.user_id; };
  return element("button", { class: "hit", type: "button", "data-user": found.user_id, onclick: open },
    element("span", {}, found.summary), element("code", {}, found.user_id));
}

async function search() {
  const text = $("query").value.trim();
  if (!text) return;
  const answer = await (await ask("/search", { text, by: $("by").value, k: 12 })).json();
  $("results").replaceChildren(...answer.results.map(hit));
  if (!answer.results.length) notice("Nobody fits these words.");
}

function told(item) {
  if (item.kind === "subreddit") return `r/${item.text}`;
  if (item.kind === "neighbour") return `r/${item.text}, of similar users`;
  if (item.kind === "tag") return `${item.facet}: ${item.text}`;
  if (item.kind === "image") return "an image";
  return `r/${item.subreddit}: ${item.text}`;
}

function chip(id, item) {
  const inferred = item?.inferred ? " inferred" : "";
  return element("span", { class: `chip${inferred}`, title: inferred ? `${id}, inferred` : id }, item ? told(item) : id);
}

function claim(stated, items) {
  const cited = stated.evidence.map((id) => [id, items.get(id)]);
  const remarks = cited.filter(([, item]) => item?.kind === "snippet").map((each) => chip(...each));
  const others = cited.filter(([, item]) => item?.kind !== "snippet").map((each) => chip(...each));
  const sure = element("meter", { value: stated.confidence, title: `confidence ${Math.round(stated.confidence * 100)}%` });
  const parts = [sure, stated.text, element("div", { class: "cites" }, ...others)];
  if (remarks.length) {
    const count = remarks.length === 1 ? "1 remark" : `${remarks.length} remarks`;
    parts.push(element("details", {}, element("summary", {}, count), element("div", { class: "cites" }, ...remarks)));
  }
  return element("div", { class: "claim" }, ...parts);
}

async function pictures(user, items) {
  const images = items.filter((item) => item.kind === "image");
  const shown = element("div", { class: "pictures" });
  await Promise.all(images.map(async (item) => {
    try {
      const answer = await ask(`/personas/${encodeURIComponent(user)}/images/${encodeURIComponent(item.evidence_id)}`);
      const url = URL.createObjectURL(await answer.blob());
      shown.append(element("img", { src: url, alt: `An image from r/${item.subreddit}` }));
    } catch {
      // A picture that is not in the archive is left out; the claim still says what it cites.
    }
  }));
  return shown;
}

async function show(user) {
  const path = `/personas/${encodeURIComponent(user)}`;
  const [row, similar] = await Promise.all(
    [path, `${path}/similar`].map(async (each) => (await ask(each)).json()));
  const items = new Map(row.evidence.map((item) => [item.evidence_id, item]));
  const made = new Date(row.made_utc * 1000).toISOString().slice(0, 10);
  const parts = [element("code", {}, `${row.user_id} · ${row.verbalizer} · ${made}`), element("p", {}, row.persona.summary)];
  for (const [name, heading] of Object.entries(HEADINGS)) {
    if (row.persona[name].length) {
      parts.push(element("h2", {}, heading), ...row.persona[name].map((stated) => claim(stated, items)));
    }
  }
  if (row.persona.demographics.length) {
    const told = row.persona.demographics.map((each) => element("div", { class: "claim" }, `${each.kind}: ${each.value}`));
    parts.push(element("h2", {}, "What they say of themselves"), ...told);
  }
  const images = await pictures(user, row.evidence);
  if (images.children.length) parts.push(element("h2", {}, "Images they posted"), images);
  if (similar.results.length) parts.push(element("h2", {}, "Similar users"), ...similar.results.map(hit));
  $("card").replaceChildren(...parts);
  $("card").hidden = false;
  for (const each of document.querySelectorAll(".hit")) {
    each.setAttribute("aria-current", each.dataset.user === user);
  }
}

function fromAddress() {
  const user = decodeURIComponent(location.hash.slice(1));
  if (user) attempt(() => show(user));
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(search);
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("key").value);
  $("access").hidden = true;
  attempt(search);
  fromAddress();
});
window.addEventListener("hashchange", fromAddress);
const asked = new URLSearchParams(location.search).get("q");
if (asked) {
  $("query").value = asked;
  attempt(search);
}
fromAddress();
