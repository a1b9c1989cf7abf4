// The account of one hit: both images, and what every group of parts adds to the similarity.

import { html, svg } from "./dom.js";
import { accountShapes, badge, brightShapes, litShapes, matchesOf, ring, tag } from "./overlay.js";
import { cellsOf, indexOf, inFrame } from "./cells.js";
import { CellTargets } from "./celltargets.js";
import { figureOf } from "./figures.js";
import { GROUPS, accountSentences, cellName, digits, namedRegions, number, percent, signed, whereabouts } from "./words.js";

const PAIRS = 10;
const GREETING = "Point at a part of either image, or reach one with Tab and the arrow keys: its matches light up in the other.";

// query and hit: as for figureOf, without the letter. Returns elements.
export function accountOf(account, query, hit) {
  const sides = { a: figureOf({ ...query, letter: "Query" }), b: figureOf({ ...hit, letter: "Hit" }) };
  sides.a.cells = cellsOf(account, "a", query.size);
  sides.b.cells = cellsOf(account, "b", hit.size);
  const said = html("p", { class: "said", "aria-live": "polite" }, GREETING);
  const rest = () => {
    for (const [key, side] of Object.entries(sides)) side.over.replaceChildren(accountShapes(account, key, side.cells, side.frame));
    said.textContent = GREETING;
  };
  // The group whose row has the focus or the pointer.
  let held = null;
  const bright = (group) => {
    held = group;
    if (!group) return rest();
    for (const [key, side] of Object.entries(sides)) side.over.replaceChildren(brightShapes(side.cells, side.frame, group[key + "_cells"]));
  };
  const light = (key, cell) => (cell ? lightCell(account, sides, key, cell, said) : bright(held));
  for (const [key, side] of Object.entries(sides)) {
    const targets = new CellTargets({ told: (cell) => light(key, cell) });
    side.top.append(targets.group);
    targets.place(side.cells, side.frame, key === "a" ? "Parts of the query" : "Parts of the hit",
      (cell) => `${cellName(cell)}, contributes ${signed(matchesOf(account, key, cell).contribution)}`);
  }
  rest();
  return [
    html("p", { class: "score" }, html("span", { class: "faint" }, "Similarity "), html("strong", {}, number(account.similarity))),
    ...accountSentences(account).map((sentence) => html("p", {}, sentence)),
    html("div", { class: "figures" }, sides.a.element, sides.b.element),
    said,
    sums(account, sides, bright),
    strongest(account),
  ];
}

function lightCell(account, sides, key, cell, said) {
  const other = key === "a" ? "b" : "a", side = sides[key], own = inFrame(side.cells, side.frame);
  const { contribution, found, mass, left } = matchesOf(account, key, cell);
  side.over.replaceChildren(svg("g", {}, ring(own.boxes[indexOf(cell, own.grid)], { dashed: contribution < 0 })));
  sides[other].over.replaceChildren(litShapes(sides[other].cells, sides[other].frame, found, 14));
  const names = { a: "query", b: "hit" };
  const told = found.slice(0, 3).filter((each) => each.share >= 0.005)
    .map(({ cell: to, share, pair }) => `${cellName(to)} (${percent(share)} of its mass, alike ${number(pair.similarity, 2)}, ${signed(pair.contribution)})`);
  const matched = told.length ? ` In the ${names[other]} it is matched with ${told.join("; ")}.` : " The matching gives it no mass.";
  const lost = mass > 0 && left >= 0.005 ? ` ${percent(left)} of its mass found no counterpart.` : "";
  said.textContent = `The ${names[key]}, ${cellName(cell)}, contributes ${signed(contribution)}.${matched}${lost}`;
}

// What the groups add, and that this is all of it.
function sums(account, sides, bright) {
  const named = namedRegions(account), places = digits(Math.max(...account.regions.map((group) => Math.abs(group.contribution)), 0));
  const places_of = (group) => `${whereabouts(group.a_cells, sides.a.cells.grid)} of the query, ${whereabouts(group.b_cells, sides.b.cells.grid)} of the hit`;
  const row = (head, value) => html("tr", {}, html("th", { scope: "row" }, head), html("td", {}, signed(value, places)), html("td", {}, percent(value, account.similarity)));
  const lights = (group, ...children) => html("button", {
    type: "button", class: "plain", onpointerenter: () => bright(group), onpointerleave: () => bright(null), onfocus: () => bright(group), onblur: () => bright(null),
  }, children);
  const rows = account.regions.map((group) => {
    const k = named.indexOf(group);
    if (k >= 0) return row(lights(group, badge(tag(k, group.contribution)), html("span", {}, `Region ${k + 1}: ${places_of(group)}`)), group.contribution);
    const shown = group.a_cells.length || group.b_cells.length;
    const swatch = svg("svg", { class: "swatch", viewBox: "0 0 20 20", "aria-hidden": "true" },
      svg("rect", { width: 20, height: 20, class: group.kind === "background" ? "background" : null, fill: group.kind === "unmatched" ? "url(#hatch)" : "none" }));
    const text = html("span", {}, GROUPS[group.kind] || group.kind);
    return row(shown && group.kind !== "remainder" ? lights(group, swatch, text) : html("span", { class: "plain" }, swatch, text), group.contribution);
  });
  if (Math.abs(account.residual) >= 5e-4) rows.push(row("Residual: this model does not pool an image by the mean of its parts", account.residual));
  const total = account.regions.reduce((sum, group) => sum + group.contribution, account.residual);
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sums of the account" }, html("table", { class: "sums" },
    html("caption", {}, "What the similarity is made of"),
    html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "Group of parts"), html("th", { scope: "col" }, "Adds"), html("th", { scope: "col" }, "Share"))),
    html("tbody", {}, rows),
    html("tfoot", {}, html("tr", {}, html("th", { scope: "row" }, "Sum, the similarity"), html("td", {}, number(total, places)), html("td", {}, percent(total, account.similarity))))));
}

function strongest(account) {
  const pairs = account.matches.filter((match) => match.mass > 0).slice(0, PAIRS);
  const places = digits(Math.max(...pairs.map((pair) => Math.abs(pair.contribution)), 0));
  return html("details", {}, html("summary", {}, "Strongest pairs of parts"), html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Strongest pairs of parts" }, html("table", {},
    html("thead", {}, html("tr", {}, ["Query", "Hit", "Adds", "Alike", "Mass"].map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, pairs.map((pair) => html("tr", {},
      html("th", { scope: "row" }, cellName(pair.a)), html("td", {}, cellName(pair.b)),
      html("td", {}, signed(pair.contribution, places)), html("td", {}, number(pair.similarity, 2)), html("td", {}, percent(pair.mass))))))),
  html("p", { class: "faint" }, "A pair adds more the more alike its two parts look to the model, and the more mass the matching gives it."));
}
