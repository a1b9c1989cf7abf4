// The dialog of one hit: its account, a comparison with another hit, and both to take away.

import { byId, html, name, save } from "./dom.js";
import { accountOf } from "./account.js";
import { contrastOf } from "./contrast.js";
import { fileName } from "./words.js";

const KINDS = [["PNG", "image/png", "png"], ["HTML", "text/html", "html"], ["JSON", "application/json", "json"]];

export class HitDialog {
  // explain(hitId, ratherId, accept, signal): a promise of a Response. chosen(ratherId or null). closed(). entry(id): of any image.
  constructor({ explain, chosen, closed, entry, shown }) {
    Object.assign(this, { explain, chosen, closed, entry, shown, hit: null });
    this.dialog = byId("hit");
    this.dialog.addEventListener("close", () => { this.stop?.abort(); this.hit = null; this.content.replaceChildren(); this.closed(); });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.content = byId("hit-content");
  }

  get isOpen() {
    return this.dialog.open;
  }

  // query: for figures; hits: the others can be compared with.
  async open(hit, query, hits) {
    this.stop?.abort();
    this.stop = new AbortController();
    Object.assign(this, { hit, query, hits, rather: null });
    this.status = html("p", { class: "status", role: "status" });
    this.body = html("div", {}, html("p", { class: "faint" }, "Computing the account …"));
    this.against = html("div", { class: "against" });
    this.content.replaceChildren(
      html("div", { class: "bar" }, html("h2", { id: "hit-title", tabindex: -1 }, "Why ", name(fileName(hit.path)), " is like ", name(query.title)),
        html("button", { type: "button", class: "close", onclick: () => this.dialog.close() }, "Close")),
      html("p", { class: "faint path" }, name(hit.path), hit.shard ? [" in ", name(hit.shard)] : null), this.body, this.downloads("Take this account away", null), this.question(), this.against, this.status);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    byId("hit-title").focus();
    await this.during(this.body, async (signal) => {
      hit.account ??= await (await this.explain(hit.id, null, "application/json", signal)).json();
      this.body.replaceChildren(...accountOf(hit.account, query, this.shown(hit)));
    });
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  downloads(title, rather) {
    return html("p", { class: "actions downloads" }, html("span", {}, `${title}: `), KINDS.filter(([kind]) => !rather || kind !== "HTML").map(([kind, accept, ending]) => html("button", {
      type: "button", "aria-label": `${title} as ${kind}`, onclick: (event) => this.download(event.target, accept, ending, rather),
    }, kind)));
  }

  async download(button, accept, ending, rather) {
    this.status.textContent = "Making the file …";
    await this.during(button, async (signal) => {
      const blob = await (await this.explain(this.hit.id, rather?.id ?? null, accept, signal)).blob();
      const stem = (path) => fileName(path).replace(/\.[^.]*$/, "");
      save(blob, `why-${stem(this.hit.path)}${rather ? `-rather-than-${stem(rather.path)}` : ""}.${ending}`);
      this.status.textContent = "The file is in your downloads.";
    });
  }

  question() {
    this.select = html("select", { id: "rather", onchange: (event) => this.chosen(event.target.value || null) },
      html("option", { value: "" }, "choose a hit"),
      this.hits.filter((each) => each.id !== this.hit.id).map((each) => html("option", { value: each.id }, `${each.rank}. ${each.path}`)));
    return html("p", { class: "actions question" }, html("label", { for: "rather" }, "Why this rather than"), " ", this.select);
  }

  // Compare with another image of the index; null ends the comparison.
  async compare(id) {
    if (this.rather === id) return;
    this.rather = id;
    this.against.replaceChildren();
    if (!id) { this.select.value = ""; return; }
    this.against.append(html("p", { class: "faint" }, "Computing the comparison …"));
    await this.during(this.against, async (signal) => {
      const other = this.hits.find((each) => each.id === id) || await this.entry(id, signal);
      if (![...this.select.options].some((option) => option.value === id)) this.select.append(html("option", { value: id }, other.path));
      this.select.value = id;
      const document = await (await this.explain(this.hit.id, id, "application/json", signal)).json();
      if (this.rather !== id) return;
      this.against.replaceChildren(html("h3", {}, "Why ", name(this.hit.path), " rather than ", name(other.path)),
        ...contrastOf(document, this.query, this.shown(this.hit), this.shown(other)), this.downloads("Take this comparison away", other));
    });
  }

  // Show that something is going on, and what went wrong.
  async during(element, task) {
    const { signal } = this.stop;
    element.setAttribute("aria-busy", "true");
    try {
      await task(signal);
    } catch (error) {
      if (!signal.aborted) {
        this.status.textContent = error.message;
        if (element !== this.body && element.tagName !== "BUTTON") element.replaceChildren();
        else if (element === this.body) element.replaceChildren(html("p", { class: "problem" }, error.message));
      }
    } finally {
      element.removeAttribute("aria-busy");
    }
  }
}
