
"use strict";
// The interaction on the page. All numbers come from the embedded data; nothing is fetched.
const data = JSON.parse(document.getElementById("data").textContent);
const said = document.getElementById("said");
const greeting = said.textContent;
const slider = document.getElementById("shown");
const heatBox = document.getElementById("heat");
const items = [...document.querySelectorAll("#pairs li")];
const regionItems = [...document.querySelectorAll("#regions li")];
const deeper = document.getElementById("deeper");
const MINUS = "\u2212";

function draw(kind, attributes, parent, content) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (content !== undefined) element.textContent = content;
  parent.append(element);
  return element;
}

const place = ([x0, y0, x1, y1]) => ({ x: x0, y: y0, width: Math.max(x1 - x0, 0), height: Math.max(y1 - y0, 0) });
const sum = (values) => values.reduce((total, value) => total + value, 0);

function number(value, digits = 3) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}
function signed(value) {
  const text = number(value, data.digits);
  return value > 0 && Number(text) !== 0 ? "+" + text : text;
}
function percent(share) {
  return (share >= 0.0995 ? Math.round(100 * share) : (100 * share).toFixed(1)) + " %";
}

// One of the two images. `row(i)` lists the pairs of its part i, one for each part of the other image.
function side(name, columns, cells, row) {
  const svg = document.getElementById("side-" + name);
  const layers = Object.fromEntries(["veils", "chosen", "marks", "rings", "grid", "labels"].map((key) => [key, draw("g", {}, svg)]));
  for (const key of ["chosen", "marks", "rings", "labels"]) layers[key].setAttribute("aria-hidden", "true");
  layers.grid.setAttribute("role", "grid");
  layers.grid.setAttribute("aria-labelledby", "name-" + name);
  const self = { name, svg, layers, columns, cells, row, at: 0 };
  self.mass = cells.map((_, i) => sum(row(i).map((pair) => pair.mass)));
  self.heat = data.heat[name];
  self.unmatched = data.unmatched[name];
  self.regions = svg.querySelector(".regions");
  self.veils = cells.map((box) => draw("rect", { class: "veil", ...place(box) }, layers.veils));
  self.where = (i) => `row ${Math.floor(i / columns) + 1}, column ${i % columns + 1}`;
  let line;
  self.targets = cells.map((box, i) => {
    if (i % columns === 0) line = draw("g", { role: "row" }, layers.grid);
    const label = `${self.where(i)} of ${name.toUpperCase()}, contributes ${signed(self.heat[i])}`;
    const target = draw("rect", { class: "cell", role: "gridcell", tabindex: i ? -1 : 0, "aria-label": label, ...place(box) }, line);
    target.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") point({ side: self, i }); });
    target.addEventListener("pointerleave", () => point(null));
    target.addEventListener("focus", () => { rove(self, i); hold({ side: self, i }); });
    target.addEventListener("blur", () => hold(null));
    target.addEventListener("click", () => target.focus());
    target.addEventListener("keydown", (event) => keyed(event, self, i));
    return target;
  });
  return self;
}

const pair = (i, j) => ({ i, j, mass: data.mass[i][j], alike: data.alike[i][j], contribution: data.contribution[i][j] });
const a = side("a", data.a.columns, data.a.cells, (i) => data.b.cells.map((_, j) => pair(i, j)));
const b = side("b", data.b.columns, data.b.cells, (j) => data.a.cells.map((_, i) => pair(i, j)));
const sides = [a, b];
const otherOf = (one) => (one === a ? b : a);
const counterpart = (one, found) => (one === a ? found.j : found.i);

// Units of the drawing in one pixel of the screen.
const unit = (one) => one.svg.viewBox.baseVal.width / Math.max(one.svg.getScreenCTM().a * one.svg.viewBox.baseVal.width, 1);

function label(one, i, content, always) {
  const { x, y, width, height } = place(one.cells[i]), u = unit(one), size = 12 * u;
  if (!always && (width < 0.62 * size * content.length || height < 1.1 * size)) return;
  draw("text", { class: "label", x: x + width / 2, y: y + height / 2, "font-size": size, "stroke-width": 3 * u }, one.layers.labels, content);
}
function ring(one, i, dashed) {
  const box = place(one.cells[i]);
  draw("rect", { class: "ring", ...box, stroke: "#000", "stroke-width": 6 }, one.layers.rings);
  draw("rect", { class: "ring", ...box, stroke: "#F0E442", "stroke-width": 3, "stroke-dasharray": dashed ? "6 4" : "none" }, one.layers.rings);
}
function veil(one, i, colour, opacity) {
  one.veils[i].style.fill = colour;
  one.veils[i].style.fillOpacity = opacity;
}

// What is highlighted: `pointed` at by the mouse, or else `held` by the keyboard, a tap or a click.
let pointed = null, held = null;
function point(what) { pointed = what; render(); }
function hold(what) { held = what; render(); }

function render() {
  const what = pointed || held;
  for (const one of sides) {
    for (const key of ["rings", "labels", "marks"]) one.layers[key].replaceChildren();
    one.cells.forEach((_, i) => veil(one, i, "#000", 0));
  }
  const region = what && what.region !== undefined;
  for (const one of sides) one.regions.style.display = region || !(what || deeper.open) ? "" : "none";
  if (region) lightRegion(what);
  else if (what) (what.side ? lightPart : lightPair)(what);
  else if (deeper.open) (heatBox.checked ? showHeat : showMarks)();
  const text = what ? what.text : greeting;
  if (said.textContent !== text) said.textContent = text;
}

function lightPart(what) {
  const one = what.side, other = otherOf(one), found = one.row(what.i), mass = one.mass[what.i];
  const matched = 1 - one.unmatched[what.i];
  const shares = found.map((each) => (mass > 0 ? matched * each.mass / mass : 0)), largest = Math.max(...shares);
  ring(one, what.i, one.heat[what.i] < 0);
  label(one, what.i, signed(one.heat[what.i]), false);
  const order = found.map((_, k) => k).sort((k, l) => shares[l] - shares[k]);
  order.forEach((k, rank) => {
    veil(other, k, "#000", largest > 0 ? 0.78 * (1 - shares[k] / largest) : 0.78);
    if (shares[k] < 0.05) return;
    if (rank < 3) ring(other, k, found[k].contribution < 0);
    label(other, k, percent(shares[k]), rank === 0);
  });
  what.text = sentence(one, other, what.i, order.slice(0, 3), shares, found);
}

function sentence(one, other, i, order, shares, found) {
  const contributes = `${one.name.toUpperCase()}, ${one.where(i)}, contributes ${signed(one.heat[i])} to the similarity.`;
  if (!(one.mass[i] > 0)) return contributes + (one === a && data.chosen ? " It is not among the chosen parts." : " The matching gives it no mass.");
  const left = one.unmatched[i] >= 0.005 ? ` ${percent(one.unmatched[i])} of its mass found no counterpart.` : "";
  const told = order.filter((k) => shares[k] >= 0.005).map((k) =>
    `${other.where(k)} (${percent(shares[k])} of its mass, alike ${number(found[k].alike, 2)}, ${signed(found[k].contribution)})`);
  if (!told.length) return contributes + left;
  return `${contributes} In ${other.name.toUpperCase()} it is matched with ${told.join("; ")}.${left}`;
}

function lightRegion(what) {
  for (const one of sides) {
    const kept = new Set(what.region[one.name]);
    one.cells.forEach((_, i) => veil(one, i, "#000", kept.has(i) ? 0 : 0.7));
  }
}

function lightPair(what) {
  const found = pair(what.i, what.j);
  for (const [one, i] of [[a, what.i], [b, what.j]]) {
    one.cells.forEach((_, k) => veil(one, k, "#000", k === i ? 0 : 0.7));
    ring(one, i, found.contribution < 0);
  }
  label(b, what.j, signed(found.contribution), true);
  what.text = `Pair ${what.rank}: A, ${a.where(what.i)}, with B, ${b.where(what.j)}: ${signed(found.contribution)}, ` +
    `alike ${number(found.alike, 2)}, ${percent(found.mass)} of all mass.`;
}

function showHeat() {
  const largest = Math.max(...sides.flatMap((one) => one.heat.map(Math.abs))) || 1;
  for (const one of sides) one.heat.forEach((value, i) => {
    veil(one, i, value < 0 ? data.against : data.for, 0.75 * Math.abs(value) / largest);
    label(one, i, number(value, data.digits), false);
  });
}

function showMarks() {
  const shown = data.pairs.slice(0, Number(slider.value));
  for (const one of sides) {
    const seen = new Map(), total = new Map(), u = unit(one);
    const cell = (k) => shown[k][one === a ? 0 : 1];
    shown.forEach((_, k) => total.set(cell(k), (total.get(cell(k)) || 0) + 1));
    const drawn = shown.map((_, k) => {
      const at = seen.get(cell(k)) || 0;
      seen.set(cell(k), at + 1);
      return mark(one, k, cell(k), at, total.get(cell(k)), u);
    });
    // The strongest is drawn last and lies on top; numbers lie above all boxes.
    drawn.reverse();
    for (const [boxes] of drawn) one.layers.marks.append(...boxes);
    for (const [, badge] of drawn) one.layers.marks.append(...badge);
  }
}

function mark(one, k, i, at, n, u) {
  const { x, y, width, height } = place(one.cells[i]), loose = document.createDocumentFragment();
  const dx = (at + 0.5) * Math.min(5 * u, width / (3 * n)), dy = (at + 0.5) * Math.min(5 * u, height / (3 * n));
  const box = { class: "mark", x: x + dx, y: y + dy, width: Math.max(width - 2 * dx, 0), height: Math.max(height - 2 * dy, 0) };
  const colour = data.colours[k % data.colours.length], ink = data.light.includes(colour) ? "#000" : "#fff";
  const [p, q] = data.pairs[k], dashes = data.contribution[p][q] < 0 ? "6 4" : "none";
  const boxes = [
    draw("rect", { ...box, stroke: ink, "stroke-width": 4.5, "stroke-dasharray": dashes }, loose),
    draw("rect", { ...box, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dashes }, loose),
  ];
  const cx = x + width * (at + 1) / (n + 1), cy = y + dy + Math.min(11 * u, height / 2);
  const badge = [
    draw("circle", { cx, cy, r: 9 * u, fill: colour, stroke: ink, "stroke-width": u }, loose),
    draw("text", { class: "number", x: cx, y: cy, dy: ".35em", fill: ink, "font-size": 11 * u }, loose, k + 1),
  ];
  return [boxes, badge];
}

// Tab stops once at each image; the arrow keys move from part to part.
function rove(one, i) {
  one.targets[one.at].setAttribute("tabindex", -1);
  one.targets[i].setAttribute("tabindex", 0);
  one.at = i;
}
function keyed(event, one, i) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const column = i % one.columns, last = one.cells.length - 1;
  const to = {
    ArrowLeft: column > 0 ? i - 1 : i,
    ArrowRight: column < one.columns - 1 ? i + 1 : i,
    ArrowUp: i >= one.columns ? i - one.columns : i,
    ArrowDown: i + one.columns <= last ? i + one.columns : i,
    Home: i - column,
    End: i - column + one.columns - 1,
  }[event.key];
  if (event.key === "Escape") { pointed = null; one.targets[i].blur(); }
  if (to === undefined) return;
  event.preventDefault();
  pointed = null;
  one.targets[to].focus();
}

function slide() {
  const count = Number(slider.value);
  document.getElementById("count").textContent = count;
  items.forEach((item, k) => { item.hidden = k >= count; });
  render();
}

function selectable(item, what) {
  item.tabIndex = 0;
  item.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch") point(what); });
  item.addEventListener("pointerleave", () => point(null));
  item.addEventListener("focus", () => hold(what));
  item.addEventListener("blur", () => hold(null));
  item.addEventListener("keydown", (event) => { if (event.key === "Escape") item.blur(); });
}
items.forEach((item, k) => selectable(item, { i: data.pairs[k][0], j: data.pairs[k][1], rank: k + 1 }));
regionItems.forEach((item, k) => selectable(item, { region: data.regions[k], text: data.regions[k].text }));
for (const i of data.chosen || []) {
  for (const kind of ["lift", "chosen"]) draw("rect", { class: kind, ...place(data.a.cells[i]) }, a.layers.chosen);
}
slider.addEventListener("input", slide);
heatBox.addEventListener("change", render);
deeper.addEventListener("toggle", render);
new ResizeObserver(render).observe(document.body);
document.getElementById("controls").hidden = said.hidden = false;
slide();
