// The page: what it shows follows from its address, see view.js.

import { Api, Problem } from "./api.js";
import { Browse } from "./browse.js";
import { listenForImages } from "./choose.js";
import { byId, html } from "./dom.js";
import { Filters } from "./filters.js";
import { HitDialog } from "./hitdialog.js";
import { HitList } from "./hits.js";
import { Pager } from "./pager.js";
import { QueryPanel } from "./query.js";
import { Results } from "./results.js";
import { explain } from "./search.js";
import { Status } from "./status.js";
import { Thumbnails } from "./thumbnails.js";
import { askToken, prepareToken } from "./token.js";
import { Verdicts } from "./verdicts.js";
import { START, hasQuery, readView, searchKey, writeView } from "./view.js";
import { count } from "./words.js";

const status = new Status();
const api = new Api({ askToken, waits: (problem, seconds) => status.waits(problem, seconds) });
// Images of this device, by their key in the address; they are gone when the page is.
const uploads = new Map();
let service = { indexes: [], limits: {}, originals: false };
let view = { ...START }, columnsOf = null, listed = null, stop = new AbortController();

const verdicts = new Verdicts({ cleared: () => hits.redrawVerdicts() });
const hits = new HitList({
  thumbnails: new Thumbnails(api),
  open: (hit) => navigate({ hit: hit.id, rather: null }),
  like: (hit) => navigate({ ...START, index: view.index, chosen: view.chosen, where: view.where, k: view.k, id: hit.id }, true),
  verdictOf: (hit) => verdicts.of(results.asked.named, hit),
  mark: (hit, verdict) => verdicts.set(results.asked.named, hit, verdict),
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
const results = new Results({ api, status, hits, browse, query, pager, large: new Thumbnails(api) });
const dialog = new HitDialog({
  explain: (hit, rather, accept, signal) => explain(api, view, uploads.get(view.upload), hit, rather, accept, signal),
  chosen: (rather) => navigate({ rather }),
  closed: closedHit,
  entry: (id, signal) => results.entry(view, id, signal),
  shown: (hit) => ({ title: hit.path, size: hit.size, address: results.picture(view, hit.id) }),
});

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
  const about = index.status === "ready"
    ? [count(index.images, "image"), index.labels ? count(index.labels, "label") : ""].filter(Boolean).join(", ") : index.reason || "not ready";
  // With one index there is nothing to choose.
  byId("index-about").textContent = service.indexes.length > 1 ? about : `${index.name}: ${about}`;
}

// An index that was not ready at the start has just answered.
async function nowReady() {
  if (service.indexes.find((each) => each.name === view.index).status === "ready") return;
  results.service = service = await api.json("v1/indexes");
  aboutIndex();
  if (columnsOf !== view.index) loadColumns(view.index);
}

async function loadColumns(index) {
  columnsOf = index;
  try {
    const { columns } = await api.json(`v1/indexes/${encodeURIComponent(index)}/columns?limit=200`, { quiet: true });
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
    await (hasQuery(view) ? results.showSearch(view, uploads.get(view.upload), signal, focus) : results.showCollection(view, signal, focus));
    await nowReady();
  } catch (error) {
    if (signal.aborted) return;
    listed = null;
    if (!(error instanceof Problem)) console.error(error);
    status.fail(error instanceof Problem ? error.message : "The page could not show this. Reload it, then try again.", () => show(view));
  }
}

// --- one hit -------------------------------------------------------------------------------------------------------

async function showHit() {
  const hit = view.hit && results.found?.find((each) => each.id === view.hit);
  if (!hit) {
    dialog.close();
    if (view.hit && results.found) status.end("The hit of this link is not among these hits.");
    return;
  }
  if (dialog.hit !== hit) await dialog.open(hit, results.asked, results.found);
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
  results.service = service;
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
