// What is drawn over an image: outlined regions, boxed pairs of parts, and the parts that light up.

import { svg } from "./dom.js";
import { inFrame, indexOf, outline, placeOf } from "./cells.js";
import { percent } from "./words.js";

// Okabe and Ito's colours, distinct for colour-blind readers; those that also stand out on a photograph come first.
const COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"];
const LIGHT = new Set(["#E69F00", "#56B4E9", "#F0E442"]);
const MATCH = "#F0E442";
// How dark a part gets that has no share in what lights up.
const DARKEST = 0.78;
// Shares from here on are labelled.
const TOLD = 0.05;

// How the k-th of the things that are marked is told apart: its number, its colours, dashed where it counts against.
export function tag(k, value) {
  const colour = COLOURS[k % COLOURS.length];
  return { number: k + 1, colour, ink: LIGHT.has(colour) ? "#000" : "#fff", dashed: value < 0 };
}

export function badge({ number, colour, ink }) {
  return svg("svg", { class: "badge", viewBox: "-14 -14 28 28", "aria-hidden": "true" },
    svg("circle", { r: 13, fill: colour, stroke: ink }), svg("text", { dy: ".35em", fill: ink }, number));
}

function disc(x, y, { number, colour, ink }) {
  return svg("g", { class: "disc" },
    svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 8, fill: colour, stroke: ink }),
    svg("text", { class: "number", x: x.toFixed(1), y: y.toFixed(1), dy: ".35em", fill: ink, "font-size": 11.5 }, number));
}

function stroked(tag, d) {
  const style = { fill: "none", d, "stroke-dasharray": tag.dashed ? "4 3" : undefined };
  return [
    svg("path", { class: "halo", stroke: tag.ink, "stroke-width": 3.6, ...style }),
    svg("path", { class: "region", stroke: tag.colour, "stroke-width": 2.2, ...style }),
  ];
}

// Regions of one image, `marks` = [{tag, cells}], the rest faded; `unmatched` cells are hatched.
export function regionShapes(cells, frame, marks, unmatched = []) {
  const placed = inFrame(cells, frame), shown = marks.filter((mark) => mark.cells.length);
  const kept = shown.map((mark) => outline(placed, mark.cells)).join("");
  const shapes = [svg("path", { class: "fade", "fill-rule": "evenodd", d: frame.path + kept })];
  if (unmatched.length) shapes.push(svg("path", { fill: "url(#hatch)", d: outline(placed, unmatched) }));
  for (const mark of [...shown].reverse()) shapes.push(...stroked(mark.tag, outline(placed, mark.cells, 1.5)));
  for (const { tag, cells: own } of shown) {
    const first = [...own].sort((p, q) => p[0] - q[0] || p[1] - q[1])[0], [x, y] = placed.boxes[indexOf(first, placed.grid)];
    shapes.push(disc(x + 10, y + 10, tag));
  }
  return svg("g", { class: "regions", "aria-hidden": "true" }, shapes);
}

// Where an account names no regions: its strongest pairs of parts, boxed; `side` is "a" or "b".
export function pairShapes(cells, frame, pairs, side) {
  const placed = inFrame(cells, frame), seen = new Map(), shapes = [];
  pairs.forEach((pair, k) => {
    const i = indexOf(pair[side], placed.grid), before = seen.get(i) || 0;
    seen.set(i, before + 1);
    const [x0, y0, x1, y1] = placed.boxes[i], by = 1.5 + 3 * before;
    const box = placeOf([x0 + by, y0 + by, Math.max(x1 - by, x0 + by), Math.max(y1 - by, y0 + by)]);
    const path = `M${box.x} ${box.y}h${box.width}v${box.height}h${-box.width}Z`, own = tag(k, pair.contribution);
    shapes.push(svg("g", {}, stroked(own, path), disc(x0 + 10 + 15 * before, y0 + 10, own)));
  });
  return svg("g", { class: "regions", "aria-hidden": "true" }, shapes.reverse());
}

// What of an account is outlined on side "a" or "b".
export function accountShapes(account, side, cells, frame) {
  const named = account.regions.filter((region) => region.kind === "region");
  if (!named.length) return pairShapes(cells, frame, account.matches.slice(0, 4), side);
  const marks = named.map((region, k) => ({ tag: tag(k, region.contribution), cells: region[side + "_cells"] }));
  const unmatched = account.regions.find((region) => region.kind === "unmatched");
  return regionShapes(cells, frame, marks, unmatched ? unmatched[side + "_cells"] : []);
}

// The pairs of one cell, the largest mass first: what it is matched with on the other side, and with which shares.
export function matchesOf(account, side, cell) {
  const other = side === "a" ? "b" : "a";
  const pairs = account.matches.filter((match) => match[side][0] === cell[0] && match[side][1] === cell[1]);
  const mass = pairs.reduce((sum, pair) => sum + pair.mass, 0);
  const contribution = pairs.reduce((sum, pair) => sum + pair.contribution, 0);
  const left = (account[`unmatched_${side}`] || [])[indexOf(cell, side === "b" && account.grid_b || account.grid)] || 0;
  const found = pairs.map((pair) => ({ cell: pair[other], pair, share: mass > 0 ? pair.mass / (mass + left) : 0 }));
  return { mass, contribution, left: mass + left > 0 ? left / (mass + left) : 0, found: found.sort((p, q) => q.share - p.share) };
}

export function ring(box, { dashed = false, width = 2.2 } = {}) {
  const place = placeOf(box);
  return [
    svg("rect", { class: "ring", ...place, stroke: "#000", "stroke-width": 2 * width }),
    svg("rect", { class: "ring", ...place, stroke: MATCH, "stroke-width": width, "stroke-dasharray": dashed ? "5 3" : undefined }),
  ];
}

// The counterparts of a cell light up: the others darken, the first three get a ring, the first its share in percent.
export function litShapes(cells, frame, found, size = 11) {
  const placed = inFrame(cells, frame), most = Math.max(...found.map((each) => each.share), 0), shapes = [];
  for (const { cell, share } of found) {
    const opacity = most > 0 ? DARKEST * (1 - share / most) : DARKEST;
    shapes.push(svg("rect", { class: "veil", ...placeOf(placed.boxes[indexOf(cell, placed.grid)]), "fill-opacity": opacity.toFixed(3) }));
  }
  const told = most > 0 ? found.slice(0, 3).filter((each) => each.share >= TOLD) : [];
  for (const { cell, pair } of told) {
    shapes.push(...ring(placed.boxes[indexOf(cell, placed.grid)], { dashed: pair.contribution < 0 }));
  }
  told.forEach(({ cell, share }, rank) => {
    const [x0, y0, x1, y1] = placed.boxes[indexOf(cell, placed.grid)], text = percent(share);
    if (rank && x1 - x0 < 0.62 * size * text.length) return;
    shapes.push(svg("text", { class: "share", x: (x0 + x1) / 2, y: (y0 + y1) / 2, "font-size": size, "stroke-width": size / 4 }, text));
  });
  return svg("g", { class: "lit", "aria-hidden": "true" }, shapes);
}

// Only some cells stay bright.
export function brightShapes(cells, frame, kept) {
  const placed = inFrame(cells, frame);
  return svg("g", { class: "lit", "aria-hidden": "true" },
    svg("path", { class: "veil", "fill-opacity": 0.7, "fill-rule": "evenodd", d: frame.path + outline(placed, kept) }));
}

// The boxes that a part query looks for.
export function chosenShapes(boxes, frame) {
  return svg("g", { class: "boxes", "aria-hidden": "true" }, boxes.map((box) => {
    const place = placeOf(frame.box(box));
    return [svg("rect", { class: "lift", ...place }), svg("rect", { class: "chosen", ...place })];
  }).flat());
}
