// Why this hit rather than that one: the query between both, and which of its parts favour which.

import { html } from "./dom.js";
import { badge, regionShapes, tag } from "./overlay.js";
import { figureOf } from "./figures.js";
import { count, digits, number, signed, whereabouts } from "./words.js";

// document: of `diml explain QUERY A --rather-than B`. Returns elements.
export function contrastOf(document, query, a, b) {
  const sides = [figureOf({ ...a, letter: "A" }), figureOf({ ...query, letter: "Query" }), figureOf({ ...b, letter: "B" })];
  const keys = ["a_cells", "cells", "b_cells"], sizes = [a.size, query.size, b.size];
  sides.forEach((side, i) => {
    const marks = document.regions.map((region, k) => ({ tag: tag(k, region.difference), cells: region[keys[i]] }));
    side.over.replaceChildren(regionShapes(gridOf(document, i, sizes[i]), side.frame, marks));
  });
  return [
    ...sentences(document).map((sentence) => html("p", {}, sentence)),
    html("div", { class: "figures three" }, sides.map((side) => side.element)),
    html("p", { class: "faint" }, "Regions of the query are numbered by how much they favour one of the two; in A and in B the parts that contribute most together with a region have its number. A dashed outline favours B."),
    table(document),
  ];
}

// Where the cells lie: told for the query; A and B are divided evenly.
function gridOf(document, i, size) {
  const grid = i === 2 && document.grid_b || document.grid, [rows, columns] = grid;
  const boxes = Array.from({ length: rows * columns }, (_, k) => {
    const row = Math.floor(k / columns), column = k % columns;
    return [column * size[0] / columns, row * size[1] / rows, (column + 1) * size[0] / columns, (row + 1) * size[1] / rows];
  });
  if (i === 1) for (const { cell, box } of document.parts) if (box) boxes[cell[0] * columns + cell[1]] = box;
  return { grid, boxes };
}

function sentences(document) {
  const { similarity_a: a, similarity_b: b, difference } = document;
  const sums = (sign) => document.parts.filter((part) => sign * part.difference > 0).reduce(([n, sum], part) => [n + 1, sum + part.difference], [0, 0]);
  const [forA, sumA] = sums(1), [forB, sumB] = sums(-1);
  const lead = Math.abs(difference) < 5e-4 ? "the two are level" : `${difference > 0 ? "A" : "B"} leads by ${number(Math.abs(difference))}`;
  return [
    `Similarity ${number(a)} with A and ${number(b)} with B: ${lead}.`,
    `Of the query’s ${count(document.parts.length, "part")}, ${forA} favour A (${signed(sumA)} in total) and ${forB} favour B (${signed(sumB)}).`,
  ];
}

function table(document) {
  const { regions, difference, residual } = document;
  const places = digits(Math.max(Math.abs(difference), ...regions.map((region) => Math.abs(region.difference))));
  const left = (key, whole) => whole - regions.reduce((sum, region) => sum + region[key], 0);
  const row = (head, ...values) => html("tr", {}, html("th", { scope: "row" }, head), values.map((value, k) => html("td", {}, k < 2 ? number(value, places) : signed(value, places))));
  const rows = regions.map((region, k) => row(html("span", { class: "plain" }, badge(tag(k, region.difference)), html("span", {}, `Region ${k + 1}: ${whereabouts(region.cells, document.grid)} of the query`)),
    region.a, region.b, region.difference));
  rows.push(row("The other parts of the query", left("a", document.similarity_a), left("b", document.similarity_b), left("difference", difference) - residual));
  if (Math.abs(residual) >= 5e-4) rows.push(html("tr", {}, html("th", { scope: "row" }, "Residual"), html("td", {}), html("td", {}), html("td", {}, signed(residual, places))));
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sums of the comparison" }, html("table", { class: "sums" },
    html("caption", {}, "What makes the difference"),
    html("thead", {}, html("tr", {}, ["Part of the query", "With A", "With B", "Favours A by"].map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, rows),
    html("tfoot", {}, row("Sum, the similarities", document.similarity_a, document.similarity_b, difference))));
}
