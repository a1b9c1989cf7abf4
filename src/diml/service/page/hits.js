// The hits of a search: small query and hit side by side, with the regions that make them similar.

import { byId, html, name, svg } from "./dom.js";
import { Frame, cellsOf, indexOf, inFrame } from "./cells.js";
import { accountShapes, badge, chosenShapes, litShapes, matchesOf, ring, tag } from "./overlay.js";
import { composition, namedRegions, number, percent, signed } from "./words.js";

// Units of the drawing of one hit; the browser scales it.
const QUERY = 112, GAP = 16, FOUND = 190;
// The numbers of regions fit beside the thinnest image.
const LOWEST = 32;

export class HitList {
  // Called with a hit: open(hit), like(hit), mark(hit, verdict); verdictOf(hit) is true, false or null.
  constructor({ thumbnails, open, like, mark, verdictOf }) {
    Object.assign(this, { thumbnails, open, like, mark, verdictOf, cards: [] });
    this.list = byId("hits");
  }

  show(index, hits, query) {
    this.clear();
    this.cards = hits.map((hit) => this.card(index, hit, query));
    this.list.start = hits[0]?.rank || 1;
    this.list.replaceChildren(...this.cards.map((card) => card.item));
  }

  clear() {
    this.cards = [];
    this.list.replaceChildren();
    this.thumbnails.clear();
  }

  card(index, hit, query) {
    const tall = Math.max(Frame.fitted(query.size, QUERY).height, Frame.fitted(hit.size, FOUND).height, LOWEST);
    const left = Frame.fitted(query.size, QUERY, 0, 0, tall), right = Frame.fitted(hit.size, FOUND, QUERY + GAP, 0, tall);
    const card = { hit, left, right, query, over: svg("g") };
    const image = svg("image", { preserveAspectRatio: "none", ...right.place });
    const missing = svg("text", { class: "none", x: right.x + right.width / 2, y: right.y + right.height / 2 });
    const picture = svg("svg", {
      class: "picture pair", viewBox: `-2 -2 ${QUERY + GAP + FOUND + 4} ${(tall + 4).toFixed(1)}`, role: "img",
      "aria-label": `Hit ${hit.rank}: ${hit.path}, similarity ${number(hit.similarity)}, beside the query`, onclick: () => this.open(hit),
    },
    svg("rect", { class: "blank", ...left.place }), svg("rect", { class: "blank", ...right.place }),
    svg("use", { href: "#query-image", transform: `translate(${left.x} ${left.y}) scale(${left.width} ${left.height})` }),
    image, missing,
    svg("rect", { class: "edge", ...left.place }), svg("rect", { class: "edge", ...right.place }), card.over);
    this.thumbnails.address(index, hit.id).then((address) => {
      if (address) image.setAttribute("href", address);
      else missing.textContent = "no image";
    });
    card.shares = html("span", { class: "shares" });
    card.lit = html("span", { class: "lit-text" });
    card.head = html("span", { class: "faint" });
    card.item = html("li", { "data-id": hit.id },
      html("p", { class: "head" }, html("span", { class: "rank" }, hit.rank), " ", html("strong", {}, number(hit.similarity)), " ", card.head),
      picture,
      html("p", { class: "stacked faint" }, card.shares, card.lit),
      hit.label === null ? null : html("p", { class: "label" }, name(hit.label)),
      html("p", { class: "faint path" }, name(hit.path), hit.shard ? [" in ", name(hit.shard)] : null),
      this.buttons(hit));
    this.fill(card);
    return card;
  }

  // The account of a hit may come after the hit.
  fill(card) {
    const { account } = card.hit;
    card.head.textContent = composition(card.hit.account || { ...card.hit, weight: card.query.part ? 1 : 0 });
    if (!account) return this.rest(card);
    card.cells = { a: cellsOf(account, "a", card.query.size), b: cellsOf(account, "b", card.hit.size) };
    const named = namedRegions(account), shown = named.length ? named : account.matches.slice(0, 4);
    card.shares.replaceChildren(...shown.map((each, k) => html("span", { class: "share" }, badge(tag(k, each.contribution)), " ",
      named.length && percent(each.contribution, account.similarity) || signed(each.contribution))));
    return this.rest(card);
  }

  setAccount(hit, account) {
    hit.account = account;
    const card = this.cards.find((each) => each.hit === hit);
    if (card) this.fill(card);
  }

  buttons(hit) {
    const path = hit.path, verdicts = [[true, "Right"], [false, "Wrong"]].map(([verdict, text]) => html("button", {
      type: "button", class: `verdict ${verdict ? "right" : "wrong"}`, "aria-pressed": String(this.verdictOf(hit) === verdict), "aria-label": `${text}: ${path}`,
      onclick: () => {
        this.mark(hit, this.verdictOf(hit) === verdict ? null : verdict);
        verdicts.forEach((button, k) => button.setAttribute("aria-pressed", String(this.verdictOf(hit) === (k === 0))));
      },
    }, text));
    return html("p", { class: "actions" },
      html("button", { type: "button", class: "open", "aria-label": `Details: ${path}`, onclick: () => this.open(hit) }, "Details"),
      html("button", { type: "button", class: "like", "aria-label": `Use as query: ${path}`, onclick: () => this.like(hit) }, "Use as query"),
      html("span", { class: "verdict-pair" }, verdicts));
  }

  redrawVerdicts() {
    for (const { item, hit } of this.cards) {
      item.querySelector(".right").setAttribute("aria-pressed", String(this.verdictOf(hit) === true));
      item.querySelector(".wrong").setAttribute("aria-pressed", String(this.verdictOf(hit) === false));
    }
  }

  rest(card) {
    const { account } = card.hit, shapes = [];
    if (account) shapes.push(accountShapes(account, "a", card.cells.a, card.left), accountShapes(account, "b", card.cells.b, card.right));
    if (card.query.boxes.length) shapes.push(chosenShapes(card.query.boxes, card.left));
    card.over.replaceChildren(...shapes);
    card.item?.classList.remove("is-lit");
  }

  // A part of the query lights up its matches in all hits; null puts the regions back.
  light(cell) {
    for (const card of this.cards) {
      const { account } = card.hit;
      if (!cell || !account) {
        this.rest(card);
        continue;
      }
      const { contribution, found, mass } = matchesOf(account, "a", cell), own = inFrame(card.cells.a, card.left);
      card.over.replaceChildren(
        chosenShapes(card.query.boxes, card.left),
        svg("g", { class: "lit" }, ring(own.boxes[indexOf(cell, own.grid)], { dashed: contribution < 0, width: 1.6 })),
        litShapes(card.cells.b, card.right, mass > 0 ? found : found.map((each) => ({ ...each, share: 0 }))));
      const share = percent(contribution, account.similarity);
      card.lit.textContent = mass > 0 ? `This part: ${signed(contribution)}${share ? ` (${share})` : ""}` : "This part is not looked for.";
      card.item.classList.add("is-lit");
    }
  }

  // What lights up, in a sentence that begins with where.
  describe(cell, place) {
    const where = place[0].toUpperCase() + place.slice(1);
    const told = this.cards.filter(({ hit }) => hit.account).map(({ hit }) => [hit, matchesOf(hit.account, "a", cell)]);
    if (!told.length) return `${where}.`;
    if (!told.some(([, match]) => match.mass > 0)) return `${where}, is not among the chosen parts.`;
    const [best, match] = told.reduce((most, each) => (each[1].contribution > most[1].contribution ? each : most));
    return `${where}, adds most in hit ${best.rank}: ${signed(match.contribution)}.`;
  }

  focusHit(id) {
    this.cards.find(({ hit }) => hit.id === id)?.item.querySelector(".open").focus();
  }
}
