// The page: what it shows follows from its address, see view.js.

import { Api, Problem } from "./api.js";
import { Browse, IMAGES } from "./browse.js";
import { cellsOf } from "./cells.js";
import { listenForImages, sizeOf } from "./choose.js";
import { byId, html, name } from "./dom.js";
import { Filters } from "./filters.js";
import { HitDialog } from "./hitdialog.js";
import { HitList } from "./hits.js";
import { Pager } from "./pager.js";
import { QueryPanel } from "./query.js";
import { explain, extent, search } from "./search.js";
import { Status } from "./status.js";
import { Thumbnails } from "./thumbnails.js";
import { askToken, prepareToken } from "./token.js";
import { Verdicts } from "./verdicts.js";
import { START, condition, hasQuery, readView, searchKey, writeView } from "./view.js";
import { PART, WHOLE, cellName, count, fileName } from "./words.js";

const status = new Status();
const api = new Api({ askToken, waits: (problem, seconds) => status.waits(problem, seconds) });
// Images of this device, by their key in the address; they are gone when the page is.
const uploads = new Map();
let service = { indexes: [], limits: {}, originals: false };
let view = { ...START }, columnsOf = null, listed = null, stop = new AbortController();
// The search that is shown: its hits, and its query with `key`, `title`, `size`, `address`, `boxes`, `part`.
let found = null, asked = null;

const large = new Thumbnails(api);
const verdicts = new Verdicts({ cleared: () => hits.redrawVerdicts() });
const hits = new HitList({
  thumbnails: new Thumbnails(api),
  open: (hit) => navigate({ hit: hit.id, rather: null }),
  like: (hit) => navigate({ ...START, index: view.index, chosen: view.chosen, where: view.where, k: view.k, id: hit.id }, true),
  verdictOf: (hit) => verdicts.of(asked.named, hit),
  mark: (hit, verdict) => verdicts.set(asked.named, hit, verdict),
});
const query = new QueryPanel({
  told: (cell) => hits.light(cell),
  boxed: (regions) => navigate({ regions, page: 1, hit: null, rather: null }),
  most: () => service.limits.regions ?? 16,
});
const browse = new Browse({
  thumbnails: new Thumbnails(api),
  chosen: (entry) => navigate({ id: entry.id, upload: null, regions: [], page: 1 }, true),
});
const filters = new Filters({ changed: (filter) => navigate({ ...filter, page: 1, hit: null, rather: null }) });
const pager = new Pager({
  turned: (page) => navigate({ page }, true),
  sized: (k) => navigate({ k, page: 1 }),
});
const dialog = new HitDialog({
  explain: (hit, rather, accept, signal) => explain(api, view, uploads.get(view.upload), hit, rather, accept, signal),
  chosen: (rather) => navigate({ rather }),
  closed: closedHit,
  entry: (id, signal) => entryOf(id, signal),
  shown: (hit) => ({ title: hit.path, size: hit.size, address: pictureOf(hit.id) }),
});

const indexPath = (rest = "") => `v1/indexes/${encodeURIComponent(view.index)}${rest}`;
const entryOf = (id, signal) => api.json(indexPath(`/images/${encodeURIComponent(id)}`), { signal });

// The best picture of an image of the index: its file where the service gives it, or else its thumbnail.
async function pictureOf(id) {
  const original = service.originals ? await large.address(view.index, id, "original") : null;
  return original && await sizeOf(original) ? original : large.address(view.index, id);
}

// --- from one view to the next -------------------------------------------------------------------------------------

function navigate(patch, focus = false) {
  const next = { ...view, ...patch };
  history.pushState(null, "", writeView(next));
  show(next, focus);
}

async function show(next, focus = false) {
  view = next;
  const known = service.indexes.map((index) => index.name);
  if (!known.includes(view.index)) {
    const wanted = view.index;
    if (wanted) return status.fail(`There is no index “${wanted}” here. Choose one of: ${known.join(", ")}.`);
    view = { ...view, index: (service.indexes.find((index) => index.status === "ready") || service.indexes[0])?.name ?? null };
    if (!view.index) return status.fail("The service has no index. Start it with one: diml serve photos.diml.");
    history.replaceState(null, "", writeView(view));
  }
  aboutIndex();
  if (columnsOf !== view.index) loadColumns(view.index);
  filters.show(view);
  if (listed !== searchKey(view)) await list(focus);
  await showHit();
}

function aboutIndex() {
  const index = service.indexes.find((each) => each.name === view.index);
  byId("index").value = view.index;
  byId("index-about").textContent = index.status === "ready"
    ? [count(index.images, "image"), index.labels ? count(index.labels, "label") : ""].filter(Boolean).join(", ") : index.reason || "not ready";
}

async function loadColumns(index) {
  columnsOf = index;
  try {
    const { columns } = await api.json(indexPath("/columns?limit=200"), { quiet: true });
    if (columnsOf === index) filters.setColumns(columns);
    filters.show(view);
  } catch {
    // The hits say what is wrong with the index.
    if (columnsOf === index) columnsOf = null;
  }
}

// The hits of the query, or the collection where there is none.
async function list(focus) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  listed = searchKey(view);
  byId("back").hidden = !hasQuery(view);
  try {
    await (hasQuery(view) ? showSearch(signal, focus) : showCollection(signal, focus));
  } catch (error) {
    if (signal.aborted) return;
    listed = null;
    if (!(error instanceof Problem)) console.error(error);
    status.fail(error instanceof Problem ? error.message : "The page could not show this. Reload it, then try again.", () => show(view));
  }
}

function heading(...content) {
  const title = byId("results-title");
  title.replaceChildren(...content);
  document.title = `${title.textContent} · diml`;
}

function focusResults() {
  byId("results-title").focus({ preventScroll: true });
  byId("results-title").scrollIntoView({ block: "nearest" });
}

// --- the collection ------------------------------------------------------------------------------------------------

async function showCollection(signal, focus) {
  heading("The collection");
  status.begin("Reading the collection …");
  query.hide();
  hits.clear();
  found = asked = null;
  byId("reading").hidden = true;
  const from = (view.page - 1) * IMAGES, asking = new URLSearchParams({ offset: from, limit: IMAGES }), where = condition(view);
  if (where) asking.append("where", where);
  const { total, images } = await api.json(indexPath(`/images?${asking}`), { signal });
  browse.show(view.index, images);
  pager.show({ page: view.page, more: from + images.length < total, k: null, text: images.length ? `${from + 1} to ${from + images.length} of ${total.toLocaleString("en")}` : "" });
  status.end(images.length ? `${count(total, "image")}${where ? " with this filter" : ""}.` : where ? "No image has these values. Clear the filter to see all." : "The index has no images yet.");
  if (focus) focusResults();
}

// --- a search ------------------------------------------------------------------------------------------------------

async function showSearch(signal, focus) {
  const file = uploads.get(view.upload);
  if (view.upload && !file) throw new Problem(0, "This link is for an image of another visit, which links do not carry. Choose the image again.");
  const index = service.indexes.find((each) => each.name === view.index), reach = extent(view, index.grid || [4, 4], service.limits);
  const begun = performance.now();
  browse.clear();
  if (focus) focusResults();
  status.begin("Searching …", "Still searching. The first search after a start of the service takes about ten seconds longer.");
  const answer = search(api, view, file, reach, signal);
  answer.catch(() => {});
  const key = JSON.stringify([view.index, view.id, view.upload]);
  const isNew = asked?.key !== key;
  if (isNew) {
    found = null;
    hits.clear();
    pager.hide();
    asked = await (file ? ofUpload(file) : ofIndex(signal));
    asked.key = key;
    query.set(asked.title, asked.address, asked.size);
  }
  signal.throwIfAborted();
  heading(view.regions.length ? "Images with a part like one of " : "Images like ", name(asked.title));
  query.showBoxes(view.regions);
  const document = await answer;
  signal.throwIfAborted();
  showHits(document, reach);
  // Where the query is above the hits, they are what people look for.
  if (isNew && matchMedia("(max-width: 55.99em)").matches) byId("results-title").scrollIntoView({ block: "start" });
  status.end(told(document, reach, performance.now() - begun));
  await missingAccounts(signal);
}

async function ofUpload(file) {
  const address = URL.createObjectURL(file), size = await sizeOf(address);
  if (size) return { title: file.name || "the image", address, size, upload: true };
  URL.revokeObjectURL(address);
  return { title: file.name || "the image", address: null, size: null };
}

async function ofIndex(signal) {
  const [entry, address] = await Promise.all([entryOf(view.id, signal), pictureOf(view.id)]);
  return { title: fileName(entry.path), path: entry.path, address, size: entry.size };
}

function showHits(document, reach) {
  if (document.query_size && String(asked.size) !== String(document.query_size)) {
    asked.size = document.query_size;
    query.setSize(asked.size);
  }
  asked = {
    ...asked, boxes: view.regions, part: view.regions.length > 0,
    named: { index: view.index, query: asked.path || asked.title, regions: view.regions.map((box) => box.join(",")).join(" "), filter: condition(view) },
  };
  found = document.hits.slice(reach.from);
  for (const hit of found) if (hit.account && asked.part) hit.account.part ??= {};
  byId("scale").textContent = asked.part ? PART : WHOLE;
  byId("reading").hidden = !found.length;
  hits.show(view.index, found, asked);
  placeCells();
  const more = document.hits.length === reach.k && reach.k < (service.limits.k ?? 1000) && reach.k === view.page * view.k;
  pager.show({ page: view.page, more, k: view.k, text: found.length ? `Hits ${found[0].rank} to ${found.at(-1).rank}` : "" });
}

function placeCells() {
  const account = found.find((hit) => hit.account)?.account;
  if (account) query.setCells(cellsOf(account, "a", asked.size), (cell) => hits.describe(cell, cellName(cell)[0].toUpperCase() + cellName(cell).slice(1)));
}

function told(document, reach, milliseconds) {
  if (!found.length) return reach.from ? "There are no hits on this page." : "Nothing was found with this filter. Clear it to see hits.";
  return `${count(found.length, "hit")} in ${(milliseconds / 1000).toFixed(milliseconds < 995 ? 2 : 1)} s.`;
}

// Accounts that did not come with the search.
async function missingAccounts(signal) {
  for (const hit of found.filter((each) => !each.account)) {
    try {
      const answer = await explain(api, view, uploads.get(view.upload), hit.id, null, "application/json", signal);
      const account = await answer.json();
      signal.throwIfAborted();
      hits.setAccount(hit, account);
      if (!query.cells) placeCells();
    } catch {
      // The hit keeps its numbers; its dialog says what is wrong.
      if (signal.aborted) return;
    }
  }
}

// --- one hit -------------------------------------------------------------------------------------------------------

async function showHit() {
  const hit = view.hit && found?.find((each) => each.id === view.hit);
  if (!hit) {
    dialog.close();
    if (view.hit && found) status.end("The hit of this link is not among these hits.");
    return;
  }
  if (dialog.hit !== hit) await dialog.open(hit, asked, found);
  if (dialog.hit === hit && view.hit === hit.id) await dialog.compare(view.rather);
}

function closedHit() {
  const { hit } = view;
  if (hit) navigate({ hit: null, rather: null });
  if (hit && document.activeElement === document.body) hits.focusHit(hit);
}

// --- the start -----------------------------------------------------------------------------------------------------

function given(file, several) {
  const most = service.limits.upload_bytes ?? Infinity, megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  if (file.size > most) return status.fail(`“${file.name}” has ${megabytes(file.size)}; the service takes up to ${megabytes(most)}. Choose a smaller image.`);
  const key = String(uploads.size + 1);
  uploads.set(key, file);
  navigate({ id: null, upload: key, regions: [], page: 1, hit: null, rather: null });
  if (several) byId("status").textContent = "Searching with the first of these images …";
}

async function start() {
  status.begin("Asking the service …");
  try {
    service = await api.json("v1/indexes");
  } catch (error) {
    return status.fail(error.message, start);
  }
  byId("index").replaceChildren(...service.indexes.map((index) => html("option", { value: index.name }, index.name)));
  byId("indexes").hidden = false;
  byId("index").parentElement.classList.toggle("single", service.indexes.length < 2);
  status.end("");
  await show(readView(location.hash));
}

prepareToken();
listenForImages({ given, refused: (text) => status.fail(text) });
byId("index").addEventListener("change", (event) => navigate({ ...START, index: event.target.value }));
byId("back").addEventListener("click", () => navigate({ id: null, upload: null, regions: [], page: 1, hit: null, rather: null }, true));
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("results-title").focus(); });
addEventListener("popstate", () => show(readView(location.hash)));
start();
