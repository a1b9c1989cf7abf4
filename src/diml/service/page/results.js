// What is listed: the collection, or the hits of a query.

import { Problem } from "./api.js";
import { IMAGES } from "./browse.js";
import { cellsOf } from "./cells.js";
import { sizeOf } from "./choose.js";
import { byId, name } from "./dom.js";
import { explain, extent, search } from "./search.js";
import { condition } from "./view.js";
import { PART, WHOLE, cellName, count, fileName } from "./words.js";

export class Results {
  // The parts of the page that show them. `large` holds pictures beside those of the lists.
  constructor({ api, status, hits, browse, query, pager, large }) {
    Object.assign(this, { api, status, hits, browse, query, pager, large, service: null });
    // The search that is shown: its hits, and its query with `key`, `title`, `size`, `address`, `boxes`, `part`, `named`.
    Object.assign(this, { found: null, asked: null });
  }

  entry(view, id, signal) {
    return this.api.json(`v1/indexes/${encodeURIComponent(view.index)}/images/${encodeURIComponent(id)}`, { signal });
  }

  // The best picture of an image of the index: its file where the service gives it, or else its thumbnail.
  async picture(view, id) {
    const original = this.service.originals ? await this.large.address(view.index, id, "original") : null;
    return original && await sizeOf(original) ? original : this.large.address(view.index, id);
  }

  heading(...content) {
    const title = byId("results-title");
    title.replaceChildren(...content);
    document.title = `${title.textContent} · diml`;
  }

  focus() {
    byId("results-title").focus({ preventScroll: true });
    byId("results-title").scrollIntoView({ block: "nearest" });
  }

  // Where the query is above the hits, they are what people look for.
  showAtTop() {
    if (matchMedia("(max-width: 55.99em)").matches) byId("results-title").scrollIntoView({ block: "start" });
  }

  async showCollection(view, signal, focus) {
    this.heading("The collection");
    this.status.begin("Reading the collection …");
    this.query.hide();
    this.hits.clear();
    this.forget();
    byId("reading").hidden = true;
    const from = (view.page - 1) * IMAGES, asking = new URLSearchParams({ offset: from, limit: IMAGES }), where = condition(view);
    if (where) asking.append("where", where);
    const { total, images } = await this.api.json(`v1/indexes/${encodeURIComponent(view.index)}/images?${asking}`, { signal });
    this.browse.show(view.index, images);
    const shown = `${from + 1} to ${from + images.length} of ${total.toLocaleString("en")}`;
    this.pager.show({ page: view.page, more: from + images.length < total, k: null, text: images.length ? shown : "" });
    const none = where ? "No image has these values. Clear the filter to see all." : "The index has no images yet.";
    this.status.end(images.length ? `${count(total, "image")}${where ? " with this filter" : ""}.` : none);
    if (focus) this.focus();
  }

  // file: of this device; undefined for an image of the index.
  async showSearch(view, file, signal, focus) {
    if (view.upload && !file) throw new Problem(0, "This link is for an image of another visit, which links do not carry. Choose the image again.");
    const grid = this.service.indexes.find((each) => each.name === view.index)?.grid || [4, 4], reach = extent(view, grid, this.service.limits);
    const begun = performance.now();
    this.browse.clear();
    if (focus) this.focus();
    this.status.begin("Searching …", "Still searching. The first search after a start of the service takes about ten seconds longer.");
    const answer = search(this.api, view, file, reach, signal);
    answer.catch(() => {});
    const isNew = await this.showQuery(view, file, signal);
    this.heading(view.regions.length ? "Images with a part like one of " : "Images like ", name(this.asked.title));
    this.query.showBoxes(view.regions);
    if (isNew) this.showAtTop();
    const document = await answer;
    signal.throwIfAborted();
    this.showHits(view, document, reach);
    if (isNew) this.showAtTop();
    this.status.end(this.told(reach, performance.now() - begun));
    this.missingAccounts(view, file, signal);
  }

  // Whether the query is another one than before.
  async showQuery(view, file, signal) {
    const key = JSON.stringify([view.index, view.id, view.upload]);
    if (this.asked?.key === key) return false;
    this.hits.clear();
    this.pager.hide();
    this.forget();
    const asked = await (file ? ofUpload(file) : this.ofIndex(view, signal));
    if (signal.aborted) revoke(asked);
    signal.throwIfAborted();
    this.asked = { ...asked, key };
    this.query.set(asked.title, asked.address, asked.size);
    return true;
  }

  async ofIndex(view, signal) {
    const [entry, address] = await Promise.all([this.entry(view, view.id, signal), this.picture(view, view.id)]);
    return { title: fileName(entry.path), path: entry.path, address, size: entry.size };
  }

  forget() {
    if (this.asked) revoke(this.asked);
    Object.assign(this, { found: null, asked: null });
    this.large.clear();
  }

  showHits(view, document, reach) {
    if (document.query_size && String(this.asked.size) !== String(document.query_size)) {
      this.asked.size = document.query_size;
      this.query.setSize(document.query_size);
    }
    const boxes = view.regions, part = boxes.length > 0;
    this.asked = {
      ...this.asked, boxes, part,
      named: { index: view.index, query: this.asked.path || this.asked.title, regions: boxes.map((box) => box.join(",")).join(" "), filter: condition(view) },
    };
    this.found = document.hits.slice(reach.from);
    byId("scale").textContent = part ? PART : WHOLE;
    byId("reading").hidden = !this.found.length;
    this.hits.show(view.index, this.found, this.asked);
    this.placeCells();
    const more = document.hits.length === reach.k && reach.k < (this.service.limits.k ?? 1000) && reach.k === view.page * view.k;
    this.pager.show({ page: view.page, more, k: view.k, text: this.found.length ? `Hits ${this.found[0].rank} to ${this.found.at(-1).rank}` : "" });
  }

  placeCells() {
    const account = this.found.find((hit) => hit.account)?.account;
    if (account) this.query.setCells(cellsOf(account, "a", this.asked.size), (cell) => this.hits.describe(cell, cellName(cell)));
  }

  told(reach, milliseconds) {
    if (this.found.length) return `${count(this.found.length, "hit")} in ${(milliseconds / 1000).toFixed(milliseconds < 995 ? 2 : 1)} s.`;
    return reach.from ? "There are no hits on this page." : "Nothing was found with this filter. Clear it to see hits.";
  }

  // Accounts that did not come with the search.
  async missingAccounts(view, file, signal) {
    for (const hit of this.found.filter((each) => !each.account)) {
      try {
        const account = await (await explain(this.api, view, file, hit.id, null, "application/json", signal)).json();
        signal.throwIfAborted();
        this.hits.setAccount(hit, account);
        if (!this.query.cells) this.placeCells();
      } catch {
        // The hit keeps its numbers; its dialog says what is wrong.
        if (signal.aborted) return;
      }
    }
  }
}

async function ofUpload(file) {
  const address = URL.createObjectURL(file), size = await sizeOf(address), title = file.name || "the image";
  if (size) return { title, address, size, upload: true };
  URL.revokeObjectURL(address);
  return { title, address: null, size: null, upload: true };
}

function revoke({ upload, address }) {
  if (upload && address) URL.revokeObjectURL(address);
}
