// Pages work without this script: it draws figures where links to their tables stand.
"use strict";

/** Make an element; text is set as text, never as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function legend(found) {
  const list = make("ul", { class: "legend" });
  const seen = new Set();
  for (const layer of found.layers) {
    if (layer.value || layer.type === "image") {
      if (layer.low_text) {
        const bar = make("canvas", { width: "96", height: "10", "aria-hidden": "true" });
        const context = bar.getContext("2d");
        for (let i = 0; i < 96; i++) {
          context.fillStyle = layer.map === "ink" ? `rgb(128 128 128 / ${i / 96})` : `rgb(${mapColour(layer.map, i / 95)})`;
          context.fillRect(i, 0, 1, 10);
        }
        list.append(make("li", {}, `${layer.low_text} `, bar, ` ${layer.high_text}`));
      }
      continue;
    }
    if (!layer.by || layer.legend === false) continue;
    const table = found.tables[layer.table];
    for (const [name, colour] of groups(layer, table)) {
      if (!name || seen.has(name)) continue;
      seen.add(name);
      const swatch = make("canvas", { width: "24", height: "24", class: "swatch", "aria-hidden": "true" });
      const context = swatch.getContext("2d");
      context.fillStyle = context.strokeStyle = colourOf(colour, style("--ink"));
      context.lineWidth = 3;
      if (layer.type === "points") mark(context, (layer.shapes || {})[name] || "circle", 12, 12, 8);
      else context.fillRect(0, layer.type === "line" ? 9 : 3, 24, layer.type === "line" ? 6 : 18);
      const shown = (layer.names || {})[name] || name;
      list.append(make("li", {}, swatch, ` ${shown}`));
    }
  }
  return list;
}

const ROWS = 200;

/** The first rows of the first table of a figure. */
function asTable(found, caption) {
  const table = Object.values(found.tables)[0];
  const names = Object.keys(table.columns).filter((name) => name !== "href");
  const href = table.columns.href;
  const body = make("tbody");
  for (let i = 0; i < Math.min(table.n, ROWS); i++) {
    body.append(make("tr", {}, ...names.map((name, k) => {
      const value = cell(table.columns[name], i);
      const text = value === null ? "–" : typeof value === "number" ? String(+value.toPrecision(6)) : value;
      const inside = href && k === 0 && cell(href, i) ? make("a", { href: cell(href, i) }, text) : text;
      return make("td", typeof value === "number" ? { class: "n" } : {}, inside);
    })));
  }
  const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name.replaceAll("_", " ")))));
  const more = table.n > ROWS ? `, the first ${ROWS} of ${table.n.toLocaleString("en")} rows` : "";
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption + more), head, body));
}

function say(figure, text, kind) {
  const place = figure.querySelector(".canvas");
  place.replaceChildren(make("p", { class: kind }, text));
  place.removeAttribute("aria-busy");
}

async function load(figure) {
  const place = figure.querySelector(".canvas");
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(make("p", { class: "loading", role: "status" }, "Loading …"));
  try {
    const response = await fetch(figure.dataset.src, { headers: { Accept: "application/octet-stream" } });
    if (!response.ok) {
      const about = await response.json().catch(() => ({ what: `Status ${response.status}.`, remedy: "" }));
      say(figure, `${about.what} ${about.remedy}`, response.status === 404 ? "absent" : "failed");
      return;
    }
    const buffer = await response.arrayBuffer();
    if (new Uint8Array(buffer)[0] === 123) { // a brace: no data, but the reason why
      const about = JSON.parse(new TextDecoder().decode(buffer));
      say(figure, `${about.absent} ${about.remedy}`, "absent");
      return;
    }
    show(figure, unpack(buffer));
  } catch (error) {
    console.error(error);
    say(figure, "The data could not be loaded. Reload the page to try again.", "failed");
  }
}

function show(figure, found) {
  const place = figure.querySelector(".canvas");
  const title = figure.querySelector("figcaption").textContent.trim().replace(/\s+/g, " ");
  const holder = make("div", { class: "plot", role: "img", "aria-label": title });
  const reading = make("output", { class: "reading" });
  place.replaceChildren(legend(found), holder, reading);
  if (found.note) place.append(make("p", { class: "note" }, found.note));
  place.removeAttribute("aria-busy");
  const rows = Object.values(found.tables).reduce((n, table) => n + table.n, 0);
  if (!rows && !Object.keys(found.images).length) {
    say(figure, "There are no such data.", "absent");
    return;
  }
  let chart;
  const redraw = () => {
    holder.replaceChildren();
    found.layers.forEach((layer) => delete layer.canvas);
    chart = draw(holder, found);
    chart.over.addEventListener("mousemove", () => {
      const { left, top } = chart.cursor;
      if (left < 0) return;
      const at = (axis, place, name) => `${found[axis].names ? "" : shortNumber(chart.posToVal(place, name))}`;
      reading.textContent = `${at("x", left, "x")}, ${at("y", top, "y")}`;
      chart.over.style.cursor = nearest(chart, found, left, top) ? "pointer" : "crosshair";
    });
    chart.over.addEventListener("click", (event) => {
      const href = nearest(chart, found, event.offsetX, event.offsetY);
      if (href) location.assign(href);
    });
  };
  redraw();
  let width = holder.clientWidth;
  new ResizeObserver(() => {
    if (Math.abs(holder.clientWidth - width) > 2) {
      width = holder.clientWidth;
      redraw();
    }
  }).observe(holder);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  const details = figure.querySelector("details.table");
  const fill = () => {
    if (details.open) details.querySelector(".rows").replaceChildren(asTable(found, title));
  };
  if (details) {
    details.addEventListener("toggle", fill);
    fill();
  }
}

// Figures are loaded when they come near the screen, two at a time.
const waiting = [];
let running = 0;
async function next() {
  while (running < 2 && waiting.length) {
    running += 1;
    await load(waiting.shift());
    running -= 1;
  }
}

function start() {
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      observer.unobserve(entry.target);
      waiting.push(entry.target);
      next();
    }
  }, { rootMargin: "300px" });
  document.querySelectorAll("figure[data-src]").forEach((figure) => observer.observe(figure));
  document.querySelectorAll("button[data-copy]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.closest(".code").querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  });
  document.querySelectorAll("form[data-auto] select").forEach((select) => {
    select.addEventListener("change", () => select.form.requestSubmit());
  });
  document.querySelectorAll("form").forEach((form) => {
    form.addEventListener("submit", () => { // empty fields do not belong in an address
      const empty = [...form.elements].filter((field) => field.name && !field.value);
      empty.forEach((field) => { field.disabled = true; });
      setTimeout(() => empty.forEach((field) => { field.disabled = false; }));
    });
  });
  const live = document.querySelector("[data-live]");
  if (live) setInterval(() => refresh(live), 1000 * Number(live.dataset.every));
}

/** Replace a part of the page by its newest state, unless somebody works in it. */
async function refresh(live) {
  if (document.hidden || live.contains(document.activeElement)) return;
  try {
    const response = await fetch(location.href);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("[data-live]");
    if (fresh) live.replaceChildren(...fresh.childNodes);
  } catch {
    const stale = live.querySelector(".stale");
    if (stale) stale.textContent = "The viewer does not answer: this is an old state.";
  }
}

start();
